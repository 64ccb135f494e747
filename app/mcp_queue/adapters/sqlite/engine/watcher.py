"""Notices what other processes write to the file."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from mcp_queue.adapters.sqlite.engine.inotify import Writes
from mcp_queue.adapters.sqlite.engine.schema import connect

# Leaves 25 of the 50 ms in which an enqueue has to be noticed to everything else.
_INTERVAL_SECONDS = 0.025
# Waking up 40 times a second for nothing would cost half a per cent of a core.
_CALM_INTERVAL_SECONDS = 1.0
# The log is written to before its commit can be seen: in between lies an fsync, of some milliseconds where disks are
# fast, and of less than a second where they are not.
_FIRST_LOOK_SECONDS = 0.005
_LIVELY_SECONDS = 1.0


class Watcher:
    """Looks at the file's version while somebody waits for messages.

    SQLite tells nobody of a commit, but its ``data_version`` costs no disk access and never waits for a lock, so that
    this runs on the event loop. Where the system tells of writes to the file, it looks often only for a while after
    each; where the system does not, or kept one to itself, always.
    """

    def __init__(self, path: Path, on_change: Callable[[], None]) -> None:
        """Call ``on_change`` when another connection has committed to ``path``."""
        self._path = path
        self._on_change = on_change
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None
        self._watching = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writes: Writes | None = None
        self._writes_are_told = True
        self._calm = False
        self._lively_until = 0.0
        self._closed = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch as long as this lasts."""
        self._watching += 1
        if self._timer is None and not self._closed:
            self._version = self._read()
            self._liven()
            self._look_in(_INTERVAL_SECONDS)
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
            self._liven()
        self._ignore_writes()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _look_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._watching:
            self._liven()
            return
        version = self._read()
        if version is None or version != self._version:
            self._version = version
            kept_to_itself = self._calm and self._writes is not None and not self._writes.forget()
            self._liven()
            if kept_to_itself:
                self._ignore_writes()
            self._on_change()
        elif not self._calm and asyncio.get_running_loop().time() >= self._lively_until:
            self._calm_down()
        self._look_in(_CALM_INTERVAL_SECONDS if self._calm else _INTERVAL_SECONDS)

    def _liven(self) -> None:
        loop = asyncio.get_running_loop()
        if self._calm and self._writes is not None:
            loop.remove_reader(self._writes)
        self._calm = False
        self._lively_until = loop.time() + _LIVELY_SECONDS

    def _calm_down(self) -> None:
        """Look seldom until the next write, if the system tells of writes and told of none lately."""
        if self._writes is None:
            self._listen()
            self._liven()
        elif self._writes.forget():
            self._liven()
        else:
            self._calm = True
            asyncio.get_running_loop().add_reader(self._writes, self._written)

    def _written(self) -> None:
        self._liven()
        if self._timer is not None:
            self._timer.cancel()
        self._look_in(_FIRST_LOOK_SECONDS)

    def _listen(self) -> None:
        if self._writes_are_told:
            try:
                self._writes = Writes(Path(f"{self._path}-wal"))
            except OSError:
                self._writes_are_told = False

    def _ignore_writes(self) -> None:
        self._writes_are_told = False
        if self._writes is not None:
            self._writes.close()
            self._writes = None

    def _read(self) -> int | None:
        """Return the version; ``None`` where it cannot be read: those who wait will look and find out why."""
        try:
            if self._connection is None:
                self._connection = connect(self._path, timedelta(0))
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            return int(version)
        except sqlite3.Error:
            return None
