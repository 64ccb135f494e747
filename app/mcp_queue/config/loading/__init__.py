"""From the environment and the YAML file to settings, with every mistake named."""
