"""What goes wrong with files and disks, and how the embedded queue comes back from it."""

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.adapters.sqlite.engine.executor import Executor
from mcp_queue.adapters.sqlite.engine.file import QueueFile
from mcp_queue.adapters.sqlite.engine.schema import check_sqlite, prepare_file
from mcp_queue.adapters.sqlite.purge import Ping
from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import BackendUnavailableError, InvalidTaskError, NotSupportedError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.testing import FakeClock
from tests.support.clock import NOW, SECOND, START
from tests.support.queues.embedded import FIFO, STANDARD, Defect, DiskSize, Lock, content, overwrite
from tests.support.queues.harness import ids
from tests.support.tasks import a_task


def opened(path: Path) -> SqliteBackend:
    """Return a backend that is about to open the file."""
    return SqliteBackend(path, clock=FakeClock(START), serializer=JsonTaskSerializer(), busy_timeout=SECOND / 5)


class TestOpening:
    """Files that cannot be used."""

    async def test_a_file_that_is_no_database_is_refused(self, path: Path) -> None:
        """A file of something else is named, and left alone."""
        path.parent.mkdir()
        something = b"not a database, and longer than its header of one hundred bytes would have to be" * 4
        overwrite(path, something)
        with pytest.raises(BackendUnavailableError, match=r"queue\.db: file is not a database"):
            await opened(path).__aenter__()
        assert something == content(path)

    async def test_a_file_of_a_newer_version_is_refused(self, path: Path) -> None:
        """A program that was set back does not touch what it does not understand."""
        async with opened(path):
            pass
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(NotSupportedError, match="version 99, this program knows up to 2"):
            await opened(path).__aenter__()

    async def test_a_directory_that_cannot_be_made_is_named(self, path: Path) -> None:
        """Where the data directory would have to be, there is a file."""
        path.parent.write_text("in the way")
        with pytest.raises(BackendUnavailableError, match=str(path)):
            await opened(path).__aenter__()

    async def test_a_file_that_stays_locked_is_refused(self, path: Path) -> None:
        """Opening waits for other processes only so long."""
        path.parent.mkdir()
        with Lock(path) as lock:
            lock.take()
            with pytest.raises(BackendUnavailableError, match="locked"):
                await opened(path).__aenter__()

    def test_an_old_sqlite_is_refused(self) -> None:
        """The error says which version is there and which is needed."""
        with pytest.raises(NotSupportedError, match=r"3\.35\.0 or newer; this Python has 3\.31\.1"):
            check_sqlite((3, 31, 1))

    async def test_a_file_keeps_what_is_in_it(self, path: Path) -> None:
        """Closing and opening again loses nothing and pauses nothing anew."""
        async with opened(path) as backend:
            await backend.queue(STANDARD).enqueue(a_task("t-1"))
            await backend.pauses.pause("work")
        async with opened(path) as backend:
            assert ["t-1"] == ids(await backend.queue(STANDARD).receive(1, NOW))
            assert frozenset({"work"}) == await backend.pauses.paused()
            assert (await backend.queue(STANDARD).stats()).paused


class TestLocked:
    """Another process that writes for too long."""

    async def test_a_locked_file_is_unavailable_until_it_is_free(self, backend: SqliteBackend, lock: Lock) -> None:
        """Waiting has an end, the error names the cause, and afterwards all is well."""
        queue = backend.queue(STANDARD)
        lock.take()
        with pytest.raises(BackendUnavailableError, match="locked by another process") as failure:
            await queue.enqueue(a_task("refused"))
        assert isinstance(failure.value.__cause__, sqlite3.OperationalError)
        with pytest.raises(BackendUnavailableError):
            await queue.ping()
        lock.give_back()
        await queue.enqueue(a_task("accepted"))
        assert ["accepted"] == ids(await queue.receive(10, NOW))

    async def test_an_enqueue_waits_for_a_lock_that_is_given_back(self, backend: SqliteBackend, lock: Lock) -> None:
        """A short lock is nobody's failure."""
        lock.take()
        enqueue = asyncio.create_task(backend.queue(STANDARD).enqueue(a_task("t-1")))
        await asyncio.sleep(0)
        lock.give_back()
        assert isinstance(await enqueue, Accepted)

    async def test_looking_needs_no_lock(self, backend: SqliteBackend, lock: Lock) -> None:
        """Statistics and polls of an empty queue go on while another process writes."""
        queue = backend.queue(STANDARD)
        lock.take()
        assert [] == await queue.receive(1, NOW)
        assert 0 == (await queue.stats()).approximate_messages
        assert frozenset() == await backend.pauses.paused()


class TestFull:
    """A disk without room."""

    async def test_a_full_disk_refuses_tasks_until_there_is_room(self, backend: SqliteBackend) -> None:
        """What was accepted stays, the error names the cause, and room brings the queue back."""
        queue = backend.queue(STANDARD)
        await queue.enqueue(a_task("before"))
        await backend._writer.submit(DiskSize(4))
        with pytest.raises(BackendUnavailableError, match="disk of the embedded queue is full"):
            await queue.enqueue(a_task("large", payload="x" * 100_000))
        await backend._writer.submit(DiskSize(-1))
        await queue.enqueue(a_task("after", payload="x" * 100_000))
        assert ["before", "after"] == ids(await queue.receive(10, NOW))

    async def test_a_task_without_room_does_not_spoil_those_beside_it(self, backend: SqliteBackend) -> None:
        """Of tasks that share a transaction, those that fit are accepted."""
        queue = backend.queue(STANDARD)
        await backend._writer.submit(DiskSize(4))
        small, large, other = await asyncio.gather(
            queue.enqueue(a_task("small")),
            queue.enqueue(a_task("large", payload="x" * 100_000)),
            queue.enqueue(a_task("other")),
            return_exceptions=True,
        )
        assert isinstance(small, Accepted)
        assert isinstance(large, BackendUnavailableError)
        assert isinstance(other, Accepted)
        assert ["small", "other"] == ids(await queue.receive(10, NOW))


class TestOneOfMany:
    """Commands that fail beside others."""

    async def test_a_defect_reaches_its_caller_alone(self, backend: SqliteBackend) -> None:
        """What a broken command wrote is undone, its neighbours succeed, and the writer lives on."""
        queue = backend.queue(STANDARD)
        broken = backend._writer.submit(Defect())
        before, defect, after = await asyncio.gather(
            queue.enqueue(a_task("before")), broken, queue.enqueue(a_task("after")), return_exceptions=True
        )
        assert isinstance(before, Accepted)
        assert isinstance(defect, ZeroDivisionError)
        assert isinstance(after, Accepted)
        assert frozenset() == await backend.pauses.paused()
        assert ["before", "after"] == ids(await queue.receive(10, NOW))

    async def test_a_text_that_is_no_unicode_is_that_tasks_fault(self, backend: SqliteBackend) -> None:
        """A lone surrogate in a group is refused, and nobody else notices."""
        queue = backend.queue(FIFO)
        bad, good = await asyncio.gather(
            queue.enqueue(a_task("bad", group="\ud800")),
            queue.enqueue(a_task("good", group="g")),
            return_exceptions=True,
        )
        assert isinstance(bad, InvalidTaskError)
        assert isinstance(good, Accepted)


class TestLostFile:
    """Files that come and go."""

    def test_a_connection_is_made_anew_when_the_cause_is_gone(self, path: Path) -> None:
        """After an error of the disk the next command tries with a new connection."""
        executor = Executor(QueueFile(path, FakeClock(START), SECOND), FakeClock(START))
        (failure,) = executor.run([Ping()]).outcomes
        assert isinstance(failure, BackendUnavailableError)
        assert "cannot be opened" in str(failure)
        prepare_file(path, SECOND)
        assert [None] == list(executor.run([Ping()]).outcomes)
        executor.close()

    async def test_a_damaged_file_is_reported_by_whoever_reads_it(self, path: Path, backend: SqliteBackend) -> None:
        """Statistics of a file whose content is no longer a database fail as unavailable, and come back with it."""
        queue = backend.queue(STANDARD)
        await queue.enqueue(a_task("t-1"))
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        good = content(path)
        overwrite(path, b"\xff" * len(good))
        with pytest.raises(BackendUnavailableError):
            await queue.stats()
        with pytest.raises(BackendUnavailableError):
            await queue.enqueue(a_task("t-2"))
        overwrite(path, good)
        assert 1 == (await queue.stats()).approximate_messages
        assert ["t-1"] == ids(await queue.receive(1, NOW))

    async def test_a_file_whose_directory_is_gone_takes_no_tasks(self, path: Path, backend: SqliteBackend) -> None:
        """What is accepted then would be seen by no other process; the directory's return mends it."""
        queue = backend.queue(STANDARD)
        await queue.enqueue(a_task("before"))
        path.parent.rename(path.parent.with_name("elsewhere"))
        for call in (queue.enqueue(a_task("lost")), queue.ping(), queue.receive(1, NOW), queue.stats()):
            with pytest.raises(BackendUnavailableError, match="removed or replaced"):
                await call
        path.parent.with_name("elsewhere").rename(path.parent)
        await queue.ping()
        await queue.enqueue(a_task("after"))
        assert ["before", "after"] == ids(await queue.receive(10, NOW))

    async def test_a_file_that_was_removed_is_not_made_anew(self, path: Path, backend: SqliteBackend) -> None:
        """An empty file in its place would hide the loss."""
        queue = backend.queue(STANDARD)
        await queue.ping()
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        with pytest.raises(BackendUnavailableError, match="removed or replaced"):
            await queue.enqueue(a_task("lost"))
        assert [] == listed(path.parent)

    async def test_a_file_that_was_replaced_is_left_alone(self, path: Path, backend: SqliteBackend) -> None:
        """A backup that was put into its place under a running process is used after a restart, whole."""
        queue = backend.queue(STANDARD)
        await queue.enqueue(a_task("old"))
        for left in path.parent.iterdir():
            left.unlink()
        async with opened(path) as restored:
            await restored.queue(STANDARD).enqueue(a_task("restored"))
            with pytest.raises(BackendUnavailableError, match="removed or replaced"):
                await queue.ping()
            assert ["restored"] == ids(await restored.queue(STANDARD).receive(10, NOW))


class TestDamaged:
    """Files whose content is not what was written."""

    async def test_a_damaged_file_is_not_opened(self, path: Path) -> None:
        """A process says at its start what is wrong."""
        async with opened(path) as backend:
            await backend.queue(STANDARD).enqueue_batch([a_task(f"t-{number}") for number in range(500)])
        damage(path)
        with pytest.raises(BackendUnavailableError, match=r"queue\.db.*malformed"):
            await opened(path).__aenter__()

    async def test_damage_is_logged_once_and_readiness_follows(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An error that tells of damage keeps the process from being ready until the file is whole again."""
        clock = FakeClock(START)
        async with opened(path) as filled:
            await filled.queue(STANDARD).enqueue_batch([a_task(f"t-{number}") for number in range(500)])
        good = content(path)
        async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer()) as backend:
            queue = backend.queue(STANDARD)
            damage(path)
            for _ in range(2):
                with pytest.raises(BackendUnavailableError, match="damaged"):
                    await queue.receive(10, NOW)
            with pytest.raises(BackendUnavailableError, match="damaged"):
                await queue.ping()
            assert 1 == sum("queue.db is damaged" in message for message in caplog.messages)
            overwrite(path, good)
            await clock.advance(60 * SECOND)
            await queue.ping()
            assert "queue.db is whole again" in caplog.messages[-1]
            assert 10 == len(await queue.receive(10, NOW))


def listed(directory: Path) -> list[Path]:
    """Return what lies in a directory."""
    return list(directory.iterdir())


def damage(path: Path) -> None:
    """Overwrite what lies behind the first page of a closed file, as a failing disk does."""
    whole = content(path)
    overwrite(path, whole[:4096] + b"\xff" * (len(whole) - 4096))
