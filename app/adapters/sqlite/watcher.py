"""Notices what other processes write to the file."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from app.adapters.sqlite.schema import connect

# Leaves 30 of the 50 ms in which an enqueue has to be noticed to everything else. Waking up is what costs: half a per
# cent of a core, however many queues are polled.
_INTERVAL_SECONDS = 0.025


class Watcher:
    """Looks at the file's version while somebody waits for messages.

    SQLite tells nobody of a commit, but its ``data_version`` costs no disk access and never waits for a lock, so that
    this runs on the event loop. It watches a file, as others watch sockets, so that its interval is the loop's own.
    """

    def __init__(self, path: Path, on_change: Callable[[], None]) -> None:
        """Call ``on_change`` when another connection has committed to ``path``."""
        self._path = path
        self._on_change = on_change
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None
        self._watching = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch as long as this lasts."""
        self._watching += 1
        if self._timer is None and not self._closed:
            self._version = self._read()
            self._start()
        try:
            yield
        finally:
            self._watching -= 1

    def close(self) -> None:
        """Stop watching, and never start again."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_INTERVAL_SECONDS, self._check)

    def _check(self) -> None:
        self._timer = None
        if not self._watching:
            return
        version = self._read()
        if version is None or version != self._version:
            self._version = version
            self._on_change()
        self._start()

    def _read(self) -> int | None:
        """Return the version; ``None`` where it cannot be read: those who wait will look and find out why."""
        try:
            if self._connection is None:
                self._connection = connect(self._path, timedelta(0))
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            return int(version)
        except sqlite3.Error:
            return None
