"""Reads the configuration for commands, and turns its mistakes into errors of the command line."""

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mcp_queue.cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mcp_queue.config import ClientSection, Settings
    from mcp_queue.domain.operators.keys import ApiKey

_USAGE = 2


@contextmanager
def _reporting_mistakes() -> "Iterator[None]":
    """Raise a ``CommandError`` with every line of a ``ConfigError``."""
    from mcp_queue.config import ConfigError

    try:
        yield
    except ConfigError as error:
        raise CommandError(str(error), _USAGE) from error


def load_settings(
    environ: "Mapping[str, str] | None" = None, fallback: "Mapping[str, str] | None" = None
) -> "Settings":
    """Return the settings of ``environ``, by default the process's environment; see ``mcp_queue.config.load_settings``.

    Raises:
        CommandError: they hold a mistake.

    """
    from mcp_queue import config

    with _reporting_mistakes():
        return config.load_settings(config.environment() if environ is None else environ, fallback or {})


def load_client() -> "ClientSection":
    """Return the address of the gateway, and the key for it.

    Raises:
        CommandError: the environment holds a mistake.

    """
    from mcp_queue import config

    with _reporting_mistakes():
        return config.read_client(config.environment())


def load_keys(settings: "Settings") -> "tuple[ApiKey, ...] | None":
    """Return the API keys of ``settings``; see ``mcp_queue.config.load_keys``.

    Raises:
        CommandError: they hold a mistake, or none are configured where they are needed.

    """
    from mcp_queue import config

    with _reporting_mistakes():
        return config.load_keys(settings)
