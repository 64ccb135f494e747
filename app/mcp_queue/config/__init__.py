"""Settings: every knob with its unit, bounds, default and description, read from the environment and a YAML file."""

from mcp_queue.config.document import Client
from mcp_queue.config.errors import ConfigError
from mcp_queue.config.keys import load_keys
from mcp_queue.config.layers import read_client
from mcp_queue.config.reference import env_example
from mcp_queue.config.resolve import load_settings
from mcp_queue.config.settings import Effective, Settings
from mcp_queue.config.sources import environment

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
