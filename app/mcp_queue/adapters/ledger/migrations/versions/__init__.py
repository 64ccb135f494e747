"""One module for each version of the schema; its number is what ``SCHEMA_VERSION`` compares."""
