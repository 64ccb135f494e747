"""Dead letters of embedded queues that go to a dead-letter queue at SQS."""

from dataclasses import replace
from typing import Any

import pytest

from mcp_queue.adapters.sqlite import SqliteBackend, SqliteQueue
from mcp_queue.adapters.sqs.dead_letters import DeadLetterWriter
from mcp_queue.adapters.sqs.payloads import Payloads
from mcp_queue.adapters.sqs.queue import SqsQueue
from mcp_queue.domain.delivery import DeadLetterMessage, Delivery
from mcp_queue.domain.errors import BackendUnavailableError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.task import Task
from tests.support.clock import NOW, SECOND, START
from tests.support.queues.embedded import FIFO, STANDARD
from tests.support.queues.harness import RawSerializer, ids
from tests.support.sqs.client import sqs_spec
from tests.support.sqs.strict_queues import StrictWorld
from tests.support.tasks import a_task

MIB = 1024 * 1024


class Pair:
    """A queue in the file, and its dead-letter queue at SQS."""

    def __init__(self, world: StrictWorld, backend: SqliteBackend, spec: Any, dead_letters: SqsQueue) -> None:
        """Join the two."""
        writer = DeadLetterWriter(
            dead_letters.spec,
            dead_letters._channel,
            shared=True,
            serializer=JsonTaskSerializer(),
            payloads=Payloads(None, None),
        )
        self.world = world
        self.queue: SqliteQueue = backend.queue(spec, writer)
        self.dead_letters = dead_letters

    async def bury(self, task: Task) -> Delivery:
        """Enqueue, receive and dead-letter ``task``; return what then lies in the dead-letter queue."""
        await self.queue.enqueue(task)
        (delivery,) = await self.queue.receive(1, NOW)
        await self.queue.dead_letter(delivery, dead_letter_message(task, "broken", START, "work"))
        (found,) = await self.dead_letters.receive(1, NOW)
        return found


async def a_pair(backend: SqliteBackend, *, dlq: str = "dlq", spec: Any = STANDARD) -> Pair:
    """Return a queue and an empty dead-letter queue."""
    world = StrictWorld()
    return Pair(world, backend, spec, await world.open(sqs_spec("dlq", world.sqs.create(dlq)), None))


@pytest.mark.parametrize("dlq", ["dlq", "dlq.fifo"])
@pytest.mark.parametrize(
    "members",
    [{}, {"group": "Zürich"}, {"max_retries": 50}, {"payload": "x" * (MIB - 500)}, {"payload": "é" * 100_000}],
    ids=["any", "a group that SQS refuses", "many retries", "nearly too large", "beyond ASCII"],
)
async def test_every_accepted_task_can_be_dead_lettered(
    backend: SqliteBackend, dlq: str, members: dict[str, Any]
) -> None:
    """No rule for new tasks stands against it, and its source holds it no longer."""
    pair = await a_pair(backend, dlq=dlq)
    task = a_task("t-1", **members)
    found = await pair.bury(task)
    assert found.task is not None
    assert ("t-1", task.payload) == (found.task.id, found.task.payload)
    assert task.group in {None, found.task.group}
    assert 0 == (await pair.queue.stats()).inflight_messages


async def test_a_body_that_is_no_task_travels_unchanged(backend: SqliteBackend, path: Any) -> None:
    """The reason stands beside it."""
    pair = await a_pair(backend)
    async with SqliteBackend(path, clock=pair.world.clock, serializer=RawSerializer()) as raw:
        await raw.queue(STANDARD).enqueue(a_task("raw", type="raw", payload="{nonsense"))
    (delivery,) = await pair.queue.receive(1, NOW)
    assert delivery.task is None
    notes = DeadLetterMessage(task=None, reason="no task", failed_at=START, original_queue="work")
    await pair.queue.dead_letter(delivery, notes)
    (found,) = await pair.dead_letters.receive(1, NOW)
    assert ("{nonsense", "no task") == (found.body, found.attributes["failure_reason"])


async def test_a_group_goes_on_behind_its_dead_letter(backend: SqliteBackend) -> None:
    """The head leaves the file once SQS has it."""
    pair = await a_pair(backend, spec=FIFO, dlq="dlq.fifo")
    await pair.queue.enqueue_batch([a_task(name, group="Zürich") for name in ("head", "next")])
    (head,) = await pair.queue.receive(1, NOW)
    assert head.task is not None
    await pair.queue.dead_letter(head, dead_letter_message(head.task, "broken", START, "ordered"))
    assert ["next"] == ids(await pair.queue.receive(1, NOW))


async def test_a_task_stays_while_sqs_does_not_answer(backend: SqliteBackend) -> None:
    """It leaves its queue after SQS confirmed the dead letter, and not before."""
    pair = await a_pair(backend)
    task = a_task("t-1")
    await pair.queue.enqueue(task)
    (delivery,) = await pair.queue.receive(1, NOW)

    class Silent:
        async def put(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
            raise BackendUnavailableError

    queue = backend.queue(STANDARD, Silent())
    with pytest.raises(BackendUnavailableError):
        await queue.dead_letter(delivery, dead_letter_message(task, "broken", START, "work"))
    assert 1 == (await queue.stats()).inflight_messages


async def test_the_consumer_counts_receives(backend: SqliteBackend) -> None:
    """The file cannot move messages to SQS, so a message comes back however often it was received."""
    pair = await a_pair(backend, spec=replace(STANDARD, visibility_timeout=SECOND, max_receive_count=1))
    assert "dlq" == pair.queue.spec.dead_letter_queue
    assert (await pair.queue.stats()).dead_letters is None
    await pair.queue.enqueue(a_task("t-1"))
    for count in (1, 2):
        (delivery,) = await pair.queue.receive(1, NOW)
        assert count == delivery.receive_count
        await pair.queue.extend(delivery, NOW)
