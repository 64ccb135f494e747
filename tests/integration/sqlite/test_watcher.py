"""Noticing what other processes write."""

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.adapters.sqlite.engine import watcher
from mcp_queue.adapters.sqlite.engine.inotify import WriteNotifications
from mcp_queue.adapters.sqlite.engine.watcher import Watcher
from tests.support.waiting import eventually

# Far above what is waited for, and far below an interval that is patched to be endless.
PATIENCE = 10
ENDLESS = 3600.0

tells_of_writes = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of writes by inotify")


class Notices:
    """A watcher whose notices are counted."""

    def __init__(self, path: Path) -> None:
        """Watch nothing yet."""
        self.count = 0
        self.watcher = Watcher(path, on_change=self._noticed)

    def _noticed(self) -> None:
        self.count += 1

    async def one_more_than(self, count: int) -> None:
        """Return once there was another one."""

        async def noticed() -> bool:
            return self.count > count

        await eventually(noticed, PATIENCE, "another notice")

    async def calm(self) -> None:
        """Return once the watcher waits to be told of writes."""

        async def is_slow() -> bool:
            return self.watcher._slow

        await eventually(is_slow, PATIENCE, "calm")

    async def lively(self) -> None:
        """Return once it looks often."""

        async def is_lively() -> bool:
            return not self.watcher._slow

        await eventually(is_lively, PATIENCE, "lively")


@pytest.fixture
def notices(path: Path, backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch) -> Notices:
    """Return a watcher of an open file, which calms down soon."""
    assert backend is not None, "the file is open"
    monkeypatch.setattr(watcher, "_FAST_SECONDS", 0.05)
    return Notices(path)


@pytest.fixture
def commit(path: Path, backend: SqliteBackend) -> Iterator[Callable[[], None]]:
    """Return what commits as another process would."""
    assert backend is not None, "the file is open"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:

        def commit() -> None:
            connection.execute("INSERT OR REPLACE INTO paused_queues VALUES ('other')")

        yield commit


async def test_a_commit_of_somebody_else_is_noticed(notices: Notices, commit: Callable[[], None]) -> None:
    """Whoever waits for messages is told to look."""
    with notices.watcher.watching():
        commit()
        await notices.one_more_than(0)
    notices.watcher.close()


@tells_of_writes
async def test_a_watcher_that_has_slowed_down_notices_a_commit_at_once(
    notices: Notices, commit: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not look in vain forty times a second, and still is in time."""
    monkeypatch.setattr(watcher, "_SLOW_INTERVAL_SECONDS", ENDLESS)
    with notices.watcher.watching():
        for count in range(3):
            await notices.calm()
            commit()
            await notices.one_more_than(count)
    notices.watcher.close()


@tells_of_writes
async def test_a_commit_long_after_its_writes_is_noticed(
    path: Path, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large transaction writes into the log before it commits."""
    monkeypatch.setattr(watcher, "_SLOW_INTERVAL_SECONDS", ENDLESS)
    with notices.watcher.watching(), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        await notices.calm()
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        for number in range(100):
            connection.execute("INSERT INTO paused_queues VALUES (?)", (f"{number}" * 1000,))
        await notices.lively()
        await notices.calm()
        assert notices.count == 0
        connection.execute("COMMIT")
        await notices.one_more_than(0)
    notices.watcher.close()


async def test_a_system_without_inotify_is_looked_at_often(
    notices: Notices, commit: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other systems than Linux tell of nothing."""

    def no_writes(path: Path) -> WriteNotifications:
        raise OSError(path)

    monkeypatch.setattr(watcher, "WriteNotifications", no_writes)
    monkeypatch.setattr(watcher, "_SLOW_INTERVAL_SECONDS", ENDLESS)
    with notices.watcher.watching():
        for count in range(3):
            commit()
            await notices.one_more_than(count)
    notices.watcher.close()


@tells_of_writes
async def test_a_system_that_kept_a_write_to_itself_is_looked_at_often(
    path: Path, notices: Notices, commit: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some sandboxes and file systems have inotify and do not pass on what others write."""
    (path.parent / "other").touch()
    monkeypatch.setattr(watcher, "WriteNotifications", lambda _: WriteNotifications(path.parent / "other"))
    monkeypatch.setattr(watcher, "_SLOW_INTERVAL_SECONDS", 0.2)
    with notices.watcher.watching():
        await notices.calm()
        for count in range(3):
            commit()
            await notices.one_more_than(count)
            assert not notices.watcher._notifications_work
    notices.watcher.close()


async def test_nobody_is_told_while_nobody_waits(notices: Notices, commit: Callable[[], None]) -> None:
    """Watching ends with the last receiver, and starts again with the next one."""
    with notices.watcher.watching():
        await notices.calm()

    async def has_stopped() -> bool:
        return notices.watcher._timer is None

    await eventually(has_stopped, PATIENCE, "no more looks")
    commit()
    with notices.watcher.watching():
        assert not notices.watcher._slow
        commit()
        await notices.one_more_than(0)
    notices.watcher.close()
    with notices.watcher.watching():
        assert notices.watcher._timer is None
    await asyncio.sleep(0)
    assert notices.count == 1


async def test_a_file_that_cannot_be_watched_makes_receivers_look(path: Path) -> None:
    """Whoever waits finds out by looking, not by waiting on."""
    noticed = asyncio.Event()
    watched = Watcher(path, on_change=noticed.set)
    with watched.watching():
        async with asyncio.timeout(PATIENCE):
            await noticed.wait()
    watched.close()
