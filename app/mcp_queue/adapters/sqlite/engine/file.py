"""Watches over the embedded queue's file: that it is still the one at its path, and that it is whole."""

import logging
import os
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Final

from mcp_queue.adapters.sqlite.engine.schema import connect, prepare_file
from mcp_queue.adapters.sqlite_codes import DAMAGED, primary_code
from mcp_queue.ports import Clock

logger = logging.getLogger(__name__)

# Checking reads the whole file: a readiness probe may not cause that every second.
_CHECK_INTERVAL: Final = timedelta(minutes=1)


class QueueFile:
    """The file at ``path``, which several connections of this process have open.

    Its methods raise ``sqlite3.Error`` only, as connections do. To be used from several threads.
    """

    def __init__(self, path: Path, clock: Clock, busy_timeout: timedelta) -> None:
        """Wait ``busy_timeout`` for other processes."""
        self.path = path
        self._clock = clock
        self._busy_timeout = busy_timeout
        self._identity: tuple[int, int] | None = None
        self._damage: str | None = None
        self._checked_at = 0.0

    def open(self) -> None:
        """Create the file or upgrade it, check that it is whole, and remember which file it is.

        Raises:
            NotSupportedError: a newer version of the product wrote it, or its file system takes no write-ahead log.
            OSError: its directory cannot be made.

        """
        prepare_file(self.path, self._busy_timeout)
        self._identity = self._identity_at_path()
        connection = self.connect()
        try:
            if (damage := _damage_of(connection, "quick_check")) is not None:
                raise _error("database disk image is malformed: " + damage, sqlite3.SQLITE_CORRUPT)
        finally:
            connection.close()

    def connect(self) -> sqlite3.Connection:
        """Return a connection to the file."""
        self.check_place()
        return connect(self.path, self._busy_timeout)

    def check_place(self) -> None:
        """Check that the file at the path is the one that was opened.

        Otherwise tasks would be written to a file that no other process finds, and that is gone when this one ends.
        """
        if self._identity is not None and self._identity_at_path() != self._identity:
            raise _error("the file was removed or replaced", sqlite3.SQLITE_READONLY_DBMOVED)

    def failed(self, error: sqlite3.Error) -> None:
        """Note an error of a connection: one that says that the file is damaged is logged, once."""
        if primary_code(error) in DAMAGED and self._damage is None:
            self._damage = str(error)
            self._checked_at = self._clock.monotonic()
            logger.error("%s is damaged: %s; restore it, or save what is left by sqlite3's .recover", self.path, error)

    def check_whole(self, connection: sqlite3.Connection) -> None:
        """Check that no damage is known; whether it was mended is looked at once a minute."""
        if self._damage is None:
            return
        now = self._clock.monotonic()
        if now - self._checked_at >= _CHECK_INTERVAL.total_seconds():
            self._checked_at = now
            self._damage = _damage_of(connection, "integrity_check")
        if self._damage is not None:
            raise _error(self._damage, sqlite3.SQLITE_CORRUPT)
        logger.warning("%s is whole again", self.path)

    def _identity_at_path(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)  # noqa: PTH116  # before every transaction: a Path's takes twice as long
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _damage_of(connection: sqlite3.Connection, check: str) -> str | None:
    """Return the first thing that ``check`` finds; ``None`` where the file is whole."""
    (found,) = connection.execute(f"PRAGMA {check}(1)").fetchone()
    return None if found == "ok" else str(found)


def _error(message: str, code: int) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(message)
    error.sqlite_errorcode = code
    return error
