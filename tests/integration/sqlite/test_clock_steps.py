"""Steps of the time of day by an hour, either way: what they may change, and what not."""

from datetime import timedelta
from pathlib import Path

import pytest

from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.errors import BackendUnavailableError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import DEDUPLICATION_WINDOW, QueueSpec
from mcp_queue.testing import FakeClock
from tests.support.clock import HOUR, NOW, SECOND, START
from tests.support.queues.embedded import FIFO, STANDARD, Lock
from tests.support.queues.harness import ids
from tests.support.tasks import a_task

BOTH_WAYS = pytest.mark.parametrize("step", [-HOUR, HOUR], ids=["back", "forward"])
BOTH_KINDS = pytest.mark.parametrize("spec", [STANDARD, FIFO], ids=["standard", "fifo"])
LEASE = STANDARD.visibility_timeout


def another_process(path: Path, clock: FakeClock) -> SqliteBackend:
    """Return a second process that is about to open the file."""
    return SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer())


@BOTH_WAYS
@BOTH_KINDS
async def test_what_has_no_delay_does_not_wait(
    backend: SqliteBackend, clock: FakeClock, spec: QueueSpec, step: timedelta
) -> None:
    """Tasks that were enqueued before the step come at once, in their order."""
    queue = backend.queue(spec)
    for name in ("a", "b"):
        await queue.enqueue(a_task(name, group=name))
    clock.step(step)
    await queue.enqueue(a_task("c", group="c"))
    assert {"a", "b", "c"} == set(ids(await queue.receive(10, NOW)))


@BOTH_WAYS
@BOTH_KINDS
async def test_what_was_released_does_not_wait(
    backend: SqliteBackend, clock: FakeClock, spec: QueueSpec, step: timedelta
) -> None:
    """A message that was given back can be received at once, whatever the clock says then."""
    queue = backend.queue(spec)
    await queue.enqueue(a_task("t-1"))
    await clock.advance(SECOND)
    (delivery,) = await queue.receive(1, NOW)
    await queue.release(delivery)
    clock.step(step)
    assert ["t-1"] == ids(await queue.receive(1, NOW))


@BOTH_WAYS
@BOTH_KINDS
async def test_a_lease_keeps_its_length(
    backend: SqliteBackend, clock: FakeClock, spec: QueueSpec, step: timedelta
) -> None:
    """Nobody else gets the message before the lease would have ended, and somebody does then."""
    queue = backend.queue(spec)
    await queue.enqueue(a_task("t-1"))
    (delivery,) = await queue.receive(1, NOW)
    await clock.advance(10 * SECOND)
    await queue.extend(delivery, LEASE)
    clock.step(step)
    await clock.advance(LEASE - SECOND)
    assert not await queue.receive(1, NOW)
    await clock.advance(SECOND)
    assert ["t-1"] == ids(await queue.receive(1, NOW))


@BOTH_WAYS
async def test_a_retry_waits_for_as_long_as_it_was_told(
    backend: SqliteBackend, clock: FakeClock, step: timedelta
) -> None:
    """A wait of a given length does not depend on the time of day."""
    queue = backend.queue(STANDARD)
    task = a_task("t-1")
    await queue.enqueue(task)
    (delivery,) = await queue.receive(1, NOW)
    await queue.retry(delivery, task.next_attempt(), 60 * SECOND)
    clock.step(step)
    await clock.advance(59 * SECOND)
    assert not await queue.receive(1, NOW)
    await clock.advance(SECOND)
    assert ["t-1"] == ids(await queue.receive(1, NOW))


@BOTH_KINDS
async def test_a_scheduled_task_waits_for_its_moment(backend: SqliteBackend, clock: FakeClock, spec: QueueSpec) -> None:
    """It is due when the clock shows that time, after a step forward sooner than it was to be expected."""
    queue = backend.queue(spec)
    await queue.enqueue(a_task("t-1", scheduled_for=START + HOUR / 2))
    clock.step(-HOUR)
    await clock.advance(HOUR)
    assert not await queue.receive(1, NOW)
    clock.step(HOUR)
    assert ["t-1"] == ids(await queue.receive(1, NOW))


@BOTH_WAYS
async def test_the_deduplication_window_keeps_its_length(
    backend: SqliteBackend, clock: FakeClock, step: timedelta
) -> None:
    """A repetition is recognised for five minutes, and no longer."""
    queue = backend.queue(FIFO)
    await queue.enqueue(a_task("first", deduplication_id="same"))
    clock.step(step)
    await clock.advance(DEDUPLICATION_WINDOW - SECOND)
    assert "first" == (await queue.enqueue(a_task("second", deduplication_id="same"))).duplicate_of
    await clock.advance(SECOND)
    assert (await queue.enqueue(a_task("third", deduplication_id="same"))).duplicate_of is None


@BOTH_WAYS
async def test_a_step_counts_once_for_all_processes(
    backend: SqliteBackend, path: Path, clock: FakeClock, step: timedelta
) -> None:
    """Each notices it at its own next transaction."""
    queue = backend.queue(STANDARD)
    await queue.enqueue(a_task("t-1"))
    async with another_process(path, clock) as other:
        await other.queue(STANDARD).ping()
        await queue.receive(1, NOW)
        clock.step(step)
        await queue.ping()
        await other.queue(STANDARD).ping()
        await clock.advance(LEASE - SECOND)
        assert not await other.queue(STANDARD).receive(1, NOW)
        await clock.advance(SECOND)
        assert ["t-1"] == ids(await other.queue(STANDARD).receive(1, NOW))


async def test_a_step_back_that_no_process_saw_hides_nothing(path: Path, clock: FakeClock) -> None:
    """A process that starts after it finds times that cannot be, and corrects them."""
    async with another_process(path, clock) as before:
        queue = before.queue(STANDARD)
        for name in ("leased", "retried", "waiting"):
            await queue.enqueue(a_task(name))
        _, retried = await queue.receive(2, NOW)
        assert retried.task is not None
        await queue.retry(retried, retried.task.next_attempt(), SECOND)
        await before.queue(FIFO).enqueue(a_task("first", deduplication_id="same"))
    clock.step(-HOUR)
    async with another_process(path, clock) as after:
        queue = after.queue(STANDARD)
        assert ["waiting"] == ids(await queue.receive(10, NOW))
        await clock.advance(SECOND)
        assert ["retried"] == ids(await queue.receive(10, NOW))
        await clock.advance(LEASE)
        assert "leased" in ids(await queue.receive(10, NOW))
        await clock.advance(DEDUPLICATION_WINDOW)
        assert (await after.queue(FIFO).enqueue(a_task("second", deduplication_id="same"))).duplicate_of is None


async def test_a_step_that_no_process_saw_is_followed_once_the_file_is_free(path: Path, clock: FakeClock) -> None:
    """A lock of another process at the start puts the correction off, not aside."""
    async with another_process(path, clock) as before:
        await before.queue(STANDARD).enqueue(a_task("t-1"))
    clock.step(-HOUR)
    backend = SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer(), busy_timeout=SECOND / 5)
    async with backend as after:
        with Lock(path) as lock:
            lock.take()
            with pytest.raises(BackendUnavailableError, match="locked"):
                await after.queue(STANDARD).receive(1, NOW)
            lock.give_back()
        assert ["t-1"] == ids(await after.queue(STANDARD).receive(1, NOW))
