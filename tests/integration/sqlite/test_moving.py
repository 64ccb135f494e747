"""Messages of queues that are embedded no more: they are noticed, and moved."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.adapters.sqlite.leftovers import Leftover, leftovers_in
from mcp_queue.adapters.sqs.dead_letters import DeadLetterWriter
from mcp_queue.adapters.sqs.payloads import Payloads
from mcp_queue.domain.errors import BackendUnavailableError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import RECEIVES_HEADROOM
from mcp_queue.domain.task import Task
from mcp_queue.services.queues.moving import QueueMover
from mcp_queue.testing import FakeClock
from tests.support.clock import HOUR, NOW, SECOND, START
from tests.support.queues.embedded import FIFO, STANDARD, overwrite
from tests.support.queues.harness import ids, spec_of
from tests.support.sqs.client import sqs_spec
from tests.support.sqs.strict_queues import StrictWorld
from tests.support.tasks import a_task


async def test_messages_of_unknown_queues_are_counted(path: Path, backend: SqliteBackend) -> None:
    """Delayed and running ones too."""
    await backend.queue(STANDARD).enqueue_batch([a_task("a"), a_task("b", scheduled_for=START + HOUR)])
    await backend.queue(STANDARD).receive(1, NOW)
    await backend.queue(FIFO).enqueue(a_task("c"))
    ordered, work = Leftover("ordered", 1, fifo=True), Leftover("work", 2, fifo=False)
    assert [ordered, work] == await asyncio.to_thread(leftovers_in, path, ())
    assert [ordered] == await asyncio.to_thread(leftovers_in, path, {"work"})


async def test_no_file_holds_no_messages(tmp_path: Path) -> None:
    """Looking makes no file; one that cannot be read is an error."""
    assert [] == await asyncio.to_thread(leftovers_in, tmp_path / "queue.db", ())
    assert [] == [*await asyncio.to_thread(lambda: list(tmp_path.iterdir()))]
    overwrite(tmp_path / "queue.db", b"no database" * 100)
    with pytest.raises(BackendUnavailableError):
        await asyncio.to_thread(leftovers_in, tmp_path / "queue.db", ())


async def test_everything_that_waits_is_moved_to_sqs(backend: SqliteBackend, clock: FakeClock) -> None:
    """Retries keep their count and scheduled tasks their time; what SQS refuses stays and is named."""
    world = StrictWorld()
    source, target = backend.queue(STANDARD), await world.queue("work", dlq=None)
    retried = a_task("retried")
    await source.enqueue(retried)
    (delivery,) = await source.receive(1, NOW)
    await source.retry(delivery, retried.next_attempt(), HOUR)
    too_large = a_task("too large", payload="x" * (1024 * 1024 - 500))
    later = START + 600 * SECOND
    await source.enqueue_batch([too_large, *(a_task(f"t-{number}") for number in range(25))])
    await source.enqueue(a_task("later", scheduled_for=later))

    await backend.reveal("work")
    outcome = await QueueMover(source, target, clock).move_all()

    assert 27 == outcome.moved
    assert ["TaskTooLargeError"] == [type(refusal).__name__ for refusal in outcome.refused.values()]
    assert ["too large"] == ids(await source.receive(10, NOW))
    await world.clock.advance(600 * SECOND)
    found: dict[str, Task] = {}
    while deliveries := await target.receive(10, SECOND):
        found |= {delivery.task.id: delivery.task for delivery in deliveries if delivery.task}
    assert {"retried", "later", *(f"t-{number}" for number in range(25))} == found.keys()
    assert (1, later) == (found["retried"].retry_count, found["later"].scheduled_for)


async def test_groups_keep_their_order(backend: SqliteBackend, clock: FakeClock) -> None:
    """The messages of a FIFO queue are moved head by head."""
    source, target = backend.queue(FIFO), backend.queue(replace(FIFO, name="new", public_name="new"))
    await source.enqueue_batch([a_task(f"t-{number:02}", group="g") for number in range(15)])
    assert 15 == (await QueueMover(source, target, clock).move_all()).moved
    order: list[str] = []
    while deliveries := await target.receive(1, NOW):
        order += ids(deliveries)
        await target.complete(deliveries[0])
    assert [f"t-{number:02}" for number in range(15)] == order


async def test_dead_letters_keep_their_reasons(backend: SqliteBackend, clock: FakeClock) -> None:
    """Those that a handler made, and those that were received too often."""
    world = StrictWorld()
    target = await world.open(sqs_spec("dlq", world.sqs.create("dlq")), None)
    sink = DeadLetterWriter(
        target.spec,
        target._channel,
        shared=True,
        serializer=JsonTaskSerializer(),
        payloads=Payloads(None, None),
    )
    dead_letters = backend.queue(spec_of("dlq", backend=STANDARD.backend))
    queue = backend.queue(replace(STANDARD, max_receive_count=1 - RECEIVES_HEADROOM))
    for name in ("failed", "crashed"):
        await queue.enqueue(a_task(name))
        (delivery,) = await queue.receive(1, NOW)
        if name == "failed":
            await queue.dead_letter(delivery, dead_letter_message(a_task(name), "broken", START, "work"))
    await clock.advance(STANDARD.visibility_timeout)
    assert not await queue.receive(1, NOW)

    assert 2 == (await QueueMover(dead_letters, target, clock, sink).move_all()).moved
    found = [delivery.task for delivery in await target.receive(10, SECOND) if delivery.task]
    reasons = {task.id: task.metadata["failure_reason"] for task in found}
    assert "broken" == reasons["failed"]
    assert "received too often" in reasons["crashed"]
    assert {"work"} == {task.metadata["original_queue"] for task in found}
