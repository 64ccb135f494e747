"""Process-level set-up that gateway and consumer share: logging, signals, directories, garbage collection."""

import asyncio
import contextlib
import ctypes
import errno
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

from mcp_queue.config.settings import Settings
from mcp_queue.domain.errors import QueueSetupError
from mcp_queue.telemetry.logs import configure_logging

logger = logging.getLogger(__name__)

_PRIVATE_DIRECTORY = 0o700
_PRIVATE_FILE = 0o600
_OTHERS = 0o077
_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BLOCK = 512 * 1024


def package_version() -> str:
    """Return the version of the installed package, ``0+unknown`` for a checkout that is not installed."""
    try:
        return version("mcp-queue")
    except PackageNotFoundError:
        return "0+unknown"


def start_logging(settings: Settings) -> None:
    """Write log lines to standard error, beginning with the warnings about the configuration.

    The log level also applies to the modules of a project's own handlers.
    """
    packages = {"mcp_queue", *(name.split(".")[0] for name in settings.handlers)}
    configure_logging(settings.logs.level, settings.logs.format, sys.stderr, sorted(packages))
    for warning in settings.warnings:
        logger.warning(warning)


def freeze_startup_objects() -> None:
    """Exclude the objects of the start from later garbage collections, and collect less often.

    They live as long as the process, and scanning them takes a tenth of the time of a small request. Requests and
    attempts leave few cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def return_freed_memory() -> Callable[[], None]:
    """Have the C library return large blocks to the system when they are freed; return what returns the rest.

    By itself glibc raises the size of a large block to that of the largest freed, and keeps all that is smaller. Other
    libraries have neither call: what they keep is theirs to decide.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):
        return lambda: None
    library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
    return partial(library.malloc_trim, 0)


def make_directory(path: Path, variable: str) -> None:
    """Create a directory that is closed to other users, whatever the umask; warn where an existing one is not.

    Raises:
        QueueSetupError: it cannot be created; the message begins with ``variable``, which holds its path.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(_PRIVATE_DIRECTORY)
            path.chmod(_PRIVATE_DIRECTORY)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        _warn_if_open(path, variable)
    except OSError as error:
        message = f"{variable}: cannot make the directory {path}: {error.strerror}"
        raise QueueSetupError(message) from error


def make_private_file(path: Path, variable: str) -> None:
    """Create an empty file that is closed to other users, whatever the umask; warn where an existing one is not.

    SQLite takes it for a new database, and gives the files beside it the same rights.

    Raises:
        QueueSetupError: it cannot be created; the message begins with ``variable``, which decides where it is.

    """
    try:
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE_FILE)
            os.fchmod(descriptor, _PRIVATE_FILE)
            os.close(descriptor)
        _warn_if_open(path, variable)
    except OSError as error:
        message = f"{variable}: cannot make the file {path}: {error.strerror}"
        raise QueueSetupError(message) from error


def _warn_if_open(path: Path, variable: str) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & _OTHERS:
        logger.warning("%s: other users may reach %s, its mode is %o", variable, path, mode)


def exit_immediately() -> NoReturn:
    """End the process at once: its remaining threads cannot be stopped, and their tasks were released."""
    logging.shutdown()
    os._exit(0)


class Signals:
    """Sets ``stop`` at the first SIGTERM or SIGINT, and ``hurry`` at the second."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def _heard(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Handle the signals while the context is open."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._heard)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
