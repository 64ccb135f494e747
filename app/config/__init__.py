"""Settings: every knob with its unit, bounds, default and description, read from the environment and a YAML file."""

from app.config.document import Client
from app.config.errors import ConfigError
from app.config.keys import load_keys
from app.config.layers import read_client
from app.config.reference import env_example
from app.config.resolve import load_settings
from app.config.settings import Effective, Settings
from app.config.sources import environment

__all__ = [
    "Client",
    "ConfigError",
    "Effective",
    "Settings",
    "env_example",
    "environment",
    "load_keys",
    "load_settings",
    "read_client",
]
