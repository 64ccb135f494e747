"""Documents the settings: the reference page and the example file."""
