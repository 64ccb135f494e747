"""Every setting, in the shape of the YAML file."""
