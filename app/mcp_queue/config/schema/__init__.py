"""Declares the settings, in the shape of the YAML file."""
