"""The settings' own reference page and example file."""
