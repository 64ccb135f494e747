"""What commands take from the configuration."""

from typing import TYPE_CHECKING

from mcp_queue.cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_queue.config import Client, Settings
    from mcp_queue.domain.operators.keys import ApiKey

_USAGE = 2


def load_settings(
    environ: "Mapping[str, str] | None" = None, fallback: "Mapping[str, str] | None" = None
) -> "Settings":
    """Return the settings of ``environ``, by default the process's environment; see ``mcp_queue.config.load_settings``.

    Raises:
        CommandError: they hold a mistake.

    """
    from mcp_queue import config

    try:
        return config.load_settings(config.environment() if environ is None else environ, fallback or {})
    except config.ConfigError as error:
        raise CommandError(str(error), _USAGE) from error


def load_client() -> "Client":
    """Return where the gateway is.

    Raises:
        CommandError: the environment holds a mistake.

    """
    from mcp_queue import config

    try:
        return config.read_client(config.environment())
    except config.ConfigError as error:
        raise CommandError(str(error), _USAGE) from error


def load_keys(settings: "Settings") -> "tuple[ApiKey, ...] | None":
    """Return the API keys of ``settings``; see ``mcp_queue.config.load_keys``.

    Raises:
        CommandError: they hold a mistake, or there are none and they are needed.

    """
    from mcp_queue import config

    try:
        return config.load_keys(settings)
    except config.ConfigError as error:
        raise CommandError(str(error), _USAGE) from error
