"""Callers that come at once, change their minds, or are too late."""

import asyncio
from pathlib import Path

import pytest

from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.errors import BackendUnavailableError, VisibilityTimeoutError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.testing import FakeClock
from tests.support.clock import HOUR, NOW, SECOND
from tests.support.queues.embedded import FIFO, STANDARD, Lock
from tests.support.queues.harness import ids
from tests.support.tasks import a_task

LONG = 60 * SECOND


async def turns() -> None:
    """Let the event loop hand over what it collected."""
    for _ in range(5):
        await asyncio.sleep(0)


async def cancelled(task: "asyncio.Task[object]") -> None:
    """Cancel a task, and see it end so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class TestCancelling:
    """Callers that change their minds."""

    async def test_what_is_not_under_way_yet_is_withdrawn(self, backend: SqliteBackend) -> None:
        """A caller who is cancelled before his turn changes nothing."""
        queue = backend.queue(STANDARD)
        enqueue = asyncio.create_task(queue.enqueue(a_task("withdrawn")))
        await asyncio.sleep(0)
        await cancelled(enqueue)
        await queue.enqueue(a_task("kept"))
        assert ["kept"] == ids(await queue.receive(10, NOW))

    async def test_a_cancelled_receive_loses_no_message(self, backend: SqliteBackend, lock: Lock) -> None:
        """What was taken for a caller who is gone is given back at once, uncounted."""
        queue = backend.queue(STANDARD)
        await queue.enqueue(a_task("t-1"))
        lock.take()
        receive = asyncio.create_task(queue.receive(10, NOW))
        await turns()
        await cancelled(receive)
        lock.give_back()
        (delivery,) = await queue.receive(10, LONG)
        assert ("t-1", 1) == (ids([delivery])[0], delivery.receive_count)

    async def test_a_cancelled_receive_that_got_nothing_gives_nothing_back(
        self, backend: SqliteBackend, lock: Lock
    ) -> None:
        """A receive that failed after its caller had left has no consequences."""
        queue = backend.queue(STANDARD)
        await queue.enqueue(a_task("t-1"))
        lock.take()
        receive = asyncio.create_task(queue.receive(10, NOW))
        await turns()
        await cancelled(receive)
        with pytest.raises(BackendUnavailableError):
            await queue.ping()
        lock.give_back()
        assert ["t-1"] == ids(await queue.receive(10, NOW))

    async def test_a_receive_cancelled_while_it_waits_leaves_the_queue_alone(self, backend: SqliteBackend) -> None:
        """A long poll that is given up takes nothing later."""
        queue = backend.queue(STANDARD)
        poll = asyncio.create_task(queue.receive(10, LONG))
        await turns()
        await cancelled(poll)
        await queue.enqueue(a_task("t-1"))
        assert ["t-1"] == ids(await queue.receive(10, NOW))

    async def test_a_cancelled_enqueue_is_done_wholly_or_not_at_all(self, backend: SqliteBackend, lock: Lock) -> None:
        """A caller who leaves while his task is written does not leave half of it."""
        queue = backend.queue(FIFO)
        lock.take()
        enqueue = asyncio.create_task(queue.enqueue_batch([a_task("a"), a_task("b")]))
        await turns()
        await cancelled(enqueue)
        lock.give_back()
        assert ["a"] == ids(await queue.receive(10, LONG))
        assert 1 == (await queue.stats()).approximate_messages


class TestClosing:
    """Backends that go away."""

    async def test_closing_finishes_what_was_asked_for(self, path: Path, clock: FakeClock) -> None:
        """Whatever was submitted before is in the file afterwards."""
        async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer()) as backend:
            queue = backend.queue(STANDARD)
            enqueues = [asyncio.create_task(queue.enqueue(a_task(f"t-{number}"))) for number in range(5)]
            await asyncio.sleep(0)
        assert [True] * 5 == [enqueue.done() for enqueue in enqueues]
        async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer()) as backend:
            assert 5 == (await backend.queue(STANDARD).stats()).approximate_messages

    async def test_closing_ends_long_polls(self, path: Path, clock: FakeClock) -> None:
        """Whoever waits for messages learns that none will come."""
        async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer()) as backend:
            poll = asyncio.create_task(backend.queue(STANDARD).receive(10, HOUR))
            await turns()
        with pytest.raises(BackendUnavailableError, match="closed"):
            await poll

    async def test_a_closed_backend_is_unavailable(self, path: Path, clock: FakeClock) -> None:
        """Nothing is accepted, received or counted after closing."""
        async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer()) as backend:
            queue = backend.queue(STANDARD)
        for call in (queue.enqueue(a_task("t-1")), queue.receive(1, NOW), queue.stats(), queue.ping()):
            with pytest.raises(BackendUnavailableError, match="closed"):
                await call

    async def test_what_a_cancelled_receive_took_is_given_back_while_closing(
        self, path: Path, clock: FakeClock
    ) -> None:
        """A consumer that cancels its polls and closes hides no message."""
        async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer()) as backend:
            queue = backend.queue(STANDARD)
            await queue.enqueue(a_task("t-1"))
            with Lock(path) as lock:
                lock.take()
                receive = asyncio.create_task(queue.receive(10, NOW))
                await turns()
                await cancelled(receive)
        async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer()) as backend:
            assert ["t-1"] == ids(await backend.queue(STANDARD).receive(10, NOW))

    def test_a_loop_that_ends_first_ends_the_writer_too(self, path: Path, clock: FakeClock) -> None:
        """A program that breaks off without closing leaves no thread behind."""
        backend = SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer())

        async def break_off(lock: Lock) -> None:
            lock.take()
            enqueue = asyncio.create_task(backend.queue(STANDARD).enqueue(a_task("t-1")))
            await turns()
            await cancelled(enqueue)

        with asyncio.Runner() as runner:
            runner.run(backend.__aenter__())
            with Lock(path) as lock:
                runner.run(break_off(lock))
                runner.close()
        backend._writer._thread.join(10)
        assert not backend._writer._thread.is_alive()


class TestSameMoment:
    """Commands of one transaction that concern the same message."""

    async def test_a_receipt_is_good_once(self, backend: SqliteBackend) -> None:
        """Of two that settle the same delivery at the same time one is told that it is too late."""
        queue = backend.queue(STANDARD)
        await queue.enqueue(a_task("t-1"))
        (delivery,) = await queue.receive(1, NOW)
        answers = await asyncio.gather(queue.complete(delivery), queue.complete(delivery), return_exceptions=True)
        assert [type(None), VisibilityTimeoutError] == [type(answer) for answer in answers]

    async def test_a_lease_may_be_extended_twice_at_once(self, backend: SqliteBackend) -> None:
        """An extension does not end the lease for another one."""
        queue = backend.queue(STANDARD)
        await queue.enqueue(a_task("t-1"))
        (delivery,) = await queue.receive(1, NOW)
        await asyncio.gather(queue.extend(delivery, SECOND), queue.extend(delivery, SECOND))

    async def test_receivers_at_once_get_different_messages(self, backend: SqliteBackend) -> None:
        """No message goes to two receivers."""
        queue = backend.queue(STANDARD)
        await queue.enqueue_batch([a_task(f"t-{number}") for number in range(30)])
        received = await asyncio.gather(*(queue.receive(10, NOW) for _ in range(3)))
        assert sorted(f"t-{number}" for number in range(30)) == sorted(
            name for deliveries in received for name in ids(deliveries)
        )

    async def test_a_handle_of_another_backend_is_no_good(self, backend: SqliteBackend) -> None:
        """A receipt handle that was not made here is like a lost lease."""
        queue = backend.queue(STANDARD)
        await queue.enqueue(a_task("t-1"))
        (delivery,) = await queue.receive(1, NOW)
        delivery.receipt_handle = "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a"
        with pytest.raises(VisibilityTimeoutError):
            await queue.complete(delivery)


async def test_a_step_back_of_the_clock_keeps_a_groups_order(backend: SqliteBackend, clock: FakeClock) -> None:
    """Whatever the time of day says, what was accepted later comes later."""
    queue = backend.queue(FIFO)
    await queue.enqueue(a_task("a"))
    clock.step(-HOUR)
    await queue.enqueue(a_task("b"))
    clock.step(HOUR)
    order = []
    for _ in range(2):
        (delivery,) = await queue.receive(10, NOW)
        order += ids([delivery])
        await queue.complete(delivery)
    assert ["a", "b"] == order
