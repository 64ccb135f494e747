"""Notices commits of other processes to the file."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from mcp_queue.adapters.sqlite.engine.inotify import WriteNotifications
from mcp_queue.adapters.sqlite.engine.schema import connect

# An enqueue has to be noticed within 50 ms; half of it is left for everything else.
_INTERVAL_SECONDS = 0.025
# Checking 40 times a second while nothing happens would cost half a per cent of a core.
_SLOW_INTERVAL_SECONDS = 1.0
# The log is written to before its commit can be seen. The fsync in between takes some milliseconds on a fast disk, and
# less than a second on a slow one.
_FIRST_CHECK_SECONDS = 0.005
_FAST_SECONDS = 1.0


class Watcher:
    """Polls the file's version while a receiver waits for messages.

    SQLite does not announce commits, but reading its ``data_version`` costs no disk access and never waits for a lock,
    so it is read on the event loop. Where the system notifies of writes to the file, it is read often only for a while
    after each write. Where the system does not, or has missed one, it is always read often.
    """

    def __init__(self, path: Path, on_change: Callable[[], None]) -> None:
        """Call ``on_change`` when another connection has committed to ``path``."""
        self._path = path
        self._on_change = on_change
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None
        self._watching = 0
        self._timer: asyncio.TimerHandle | None = None
        self._notifications: WriteNotifications | None = None
        self._notifications_work = True
        self._slow = False
        self._fast_until = 0.0
        self._closed = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the context is open."""
        self._watching += 1
        if self._timer is None and not self._closed:
            self._version = self._read()
            self._speed_up()
            self._check_in(_INTERVAL_SECONDS)
        try:
            yield
        finally:
            self._watching -= 1

    def close(self) -> None:
        """Stop watching, and never start again."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._speed_up()
        self._stop_notifications()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _check_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._check)

    def _check(self) -> None:
        self._timer = None
        if not self._watching:
            self._speed_up()
            return
        version = self._read()
        if version is None or version != self._version:
            self._version = version
            missed = self._slow and self._notifications is not None and not self._notifications.drain()
            self._speed_up()
            if missed:
                self._stop_notifications()
            self._on_change()
        elif not self._slow and asyncio.get_running_loop().time() >= self._fast_until:
            self._slow_down()
        self._check_in(_SLOW_INTERVAL_SECONDS if self._slow else _INTERVAL_SECONDS)

    def _speed_up(self) -> None:
        loop = asyncio.get_running_loop()
        if self._slow and self._notifications is not None:
            loop.remove_reader(self._notifications)
        self._slow = False
        self._fast_until = loop.time() + _FAST_SECONDS

    def _slow_down(self) -> None:
        """Read the version seldom until the next write, if notifications work and none has come lately."""
        if self._notifications is None:
            self._start_notifications()
            self._speed_up()
        elif self._notifications.drain():
            self._speed_up()
        else:
            self._slow = True
            asyncio.get_running_loop().add_reader(self._notifications, self._on_write)

    def _on_write(self) -> None:
        self._speed_up()
        if self._timer is not None:
            self._timer.cancel()
        self._check_in(_FIRST_CHECK_SECONDS)

    def _start_notifications(self) -> None:
        if self._notifications_work:
            try:
                self._notifications = WriteNotifications(Path(f"{self._path}-wal"))
            except OSError:
                self._notifications_work = False

    def _stop_notifications(self) -> None:
        self._notifications_work = False
        if self._notifications is not None:
            self._notifications.close()
            self._notifications = None

    def _read(self) -> int | None:
        """Return the version; ``None`` where it cannot be read: the next receive raises the reason."""
        try:
            if self._connection is None:
                self._connection = connect(self._path, timedelta(0))
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            return int(version)
        except sqlite3.Error:
            return None
