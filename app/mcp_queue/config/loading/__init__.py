"""Loads the settings from the environment and the YAML file, and reports every mistake."""
