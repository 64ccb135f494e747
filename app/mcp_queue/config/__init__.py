"""Declares every setting, and loads the settings from the environment and a YAML file."""

from mcp_queue.config.documentation.env_example import env_example
from mcp_queue.config.loading.keys import load_keys
from mcp_queue.config.loading.layers import read_client
from mcp_queue.config.loading.resolve import load_settings
from mcp_queue.config.loading.sources import environment
from mcp_queue.config.schema.document import ClientSection
from mcp_queue.config.settings import EffectiveSetting, Settings
from mcp_queue.domain.errors import ConfigError

__all__ = [
    "ClientSection",
    "ConfigError",
    "EffectiveSetting",
    "Settings",
    "env_example",
    "environment",
    "load_keys",
    "load_settings",
    "read_client",
]
