"""What both processes do alike."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

from mcp_queue.config.settings import Settings
from mcp_queue.domain.errors import QueueSetupError
from mcp_queue.telemetry.logs import configure_logging

logger = logging.getLogger(__name__)


def package_version() -> str:
    """Return the version of the installed package; that of a bare checkout is not known."""
    try:
        return version("mcp-queue")
    except PackageNotFoundError:
        return "0+unknown"


def start_logging(settings: Settings) -> None:
    """Write log lines to the standard error, first what is configured but probably not meant.

    A project's own handlers log at the product's level.
    """
    packages = {"mcp_queue", *(name.split(".")[0] for name in settings.handlers)}
    configure_logging(settings.logs.level, settings.logs.format, sys.stderr, sorted(packages))
    for warning in settings.warnings:
        logger.warning(warning)


def relieve_collector() -> None:
    """Leave what the start has made out of every later garbage collection, and collect less often.

    It stays for good, and looking through it again and again takes a tenth of the time of a small request. What
    requests and attempts leave behind has few cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def make_directory(path: Path, variable: str) -> None:
    """Make a directory where there is none.

    Raises:
        QueueSetupError: that is not possible; the message names ``variable``, which names the directory.

    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{variable}: cannot make the directory {path}: {error.strerror}"
        raise QueueSetupError(message) from error


def leave() -> NoReturn:
    """End the process here and now: what still runs in it cannot be stopped, and has been given back."""
    logging.shutdown()
    os._exit(0)


class Signals:
    """The first SIGTERM or SIGINT asks to ``stop``, the second to ``hurry``."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def _heard(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Listen while the context is open."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._heard)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
