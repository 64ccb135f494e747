"""What becomes of received messages that nobody can take."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from mcp_queue.adapters.sqs import receiving
from mcp_queue.adapters.sqs.receiving import PAYLOAD_PAUSE
from mcp_queue.domain.delivery import DeadLetterMessage
from mcp_queue.domain.execution.retry import dead_letter_message
from tests.support.clock import MINUTE, NOW, SECOND, START
from tests.support.sqs.strict_queues import MemoryPayloads, StrictWorld
from tests.support.sqs.strict_server import client_error
from tests.support.tasks import a_task

POINTER_SIZE = {"ExtendedPayloadSize": {"DataType": "Number", "StringValue": "5"}}


def pointer(bucket: str, key: str) -> str:
    """Return a body as the Extended Client Library writes it."""
    return json.dumps(["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": bucket, "s3Key": key}])


class Gate:
    """Holds receives back until a test lets them go."""

    def __init__(self, world: StrictWorld) -> None:
        """Stand before the receives of ``world``."""
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self._receive = world.sqs.receive_message
        world.sqs.receive_message = self.receive  # type: ignore[method-assign]  # a test's own gate

    async def receive(self, **request: Any) -> dict[str, Any]:
        """Wait, then receive."""
        self.reached.set()
        await self.opened.wait()
        return await self._receive(**request)


class TestCancelledReceives:
    """A poll cannot be called off at SQS."""

    async def test_messages_of_a_cancelled_receive_are_visible_again_at_once(self) -> None:
        """They would else stay hidden for a whole visibility timeout."""
        world = StrictWorld()
        queue = await world.queue()
        await queue.enqueue(a_task("t-1"))
        gate = Gate(world)
        receive = asyncio.create_task(queue.receive(1, 20 * SECOND))
        await gate.reached.wait()
        receive.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receive
        gate.opened.set()
        await queue.aclose()
        assert 1 == len(await queue.receive(1, NOW))

    async def test_closing_gives_back_what_a_receive_cancelled_just_now_brings(self) -> None:
        """Also when the cancellation has not reached it yet."""
        world = StrictWorld()
        queue = await world.queue()
        await queue.enqueue(a_task("t-1"))
        gate = Gate(world)
        receive = asyncio.create_task(queue.receive(1, 20 * SECOND))
        await gate.reached.wait()
        receive.cancel()
        gate.opened.set()
        await queue.aclose()
        assert 1 == len(await queue.receive(1, NOW))
        assert receive.cancelled()

    async def test_a_cancelled_receive_that_fails_disturbs_nobody(self) -> None:
        """There was nothing to give back."""
        world = StrictWorld()
        queue = await world.queue()
        gate = Gate(world)
        receive = asyncio.create_task(queue.receive(1, NOW))
        await gate.reached.wait()
        receive.cancel()
        world.sqs.lose_answer("ReceiveMessage")
        gate.opened.set()
        await queue.aclose()
        assert receive.cancelled()

    async def test_closing_calls_off_a_poll_that_takes_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody waits for a long poll to end by itself."""
        monkeypatch.setattr(receiving, "CLOSE_GRACE", NOW)
        world = StrictWorld()
        queue = await world.queue()
        gate = Gate(world)
        receive = asyncio.create_task(queue.receive(1, 20 * SECOND))
        await gate.reached.wait()
        receive.cancel()
        await queue.aclose()
        assert receive.cancelled()


class TestStoredBodies:
    """Messages that point to their body."""

    async def test_a_large_body_goes_through_the_store_and_back(self) -> None:
        """Nobody notices but the queue."""
        world = StrictWorld(MemoryPayloads())
        queue = await world.queue(payload_bucket="bucket", max_task_bytes=10_000_000)
        task = a_task("t-1", payload="x" * 5_000_000)
        await queue.enqueue(task)
        assert pointer("bucket", "key-1").replace(" ", "") == world.sqs.bodies("work")[0]
        (delivery,) = await queue.receive(1, NOW)
        assert task == delivery.task

    async def test_a_body_that_another_client_stored_is_read(self) -> None:
        """In the form of the Extended Client Library, older names included."""
        store = MemoryPayloads()
        world = StrictWorld(store)
        queue = await world.queue()
        where = await store.put("theirs", '{"type":"echo"}')
        body = json.dumps(
            ["com.amazon.sqs.javamessaging.MessageS3Pointer", {"s3BucketName": where.bucket, "s3Key": where.key}]
        )
        size = {"SQSLargePayloadSize": {"DataType": "Number", "StringValue": "15"}}
        await world.put("work", body, MessageAttributes=size)
        (delivery,) = await queue.receive(1, NOW)
        assert delivery.task is not None
        assert "echo" == delivery.task.type

    async def test_a_body_that_is_gone_is_poison(self) -> None:
        """No later receive would find it."""
        world = StrictWorld(MemoryPayloads())
        queue = await world.queue()
        await world.put("work", pointer("bucket", "none"), MessageAttributes=POINTER_SIZE)
        (delivery,) = await queue.receive(1, NOW)
        assert delivery.poison is not None
        assert pointer("bucket", "none") == delivery.body

    @pytest.mark.parametrize("body", ["{", "[]", '["x", {"s3BucketName": "b", "s3Key": "k"}]', '{"type": "echo"}'])
    async def test_a_body_that_should_be_a_pointer_and_is_none_is_poison(self, body: str) -> None:
        """The attribute says that the true body lies elsewhere."""
        world = StrictWorld(MemoryPayloads())
        queue = await world.queue()
        await world.put("work", body, MessageAttributes=POINTER_SIZE)
        (delivery,) = await queue.receive(1, NOW)
        assert delivery.poison is not None
        assert "pointer" in delivery.poison

    async def test_without_a_store_a_pointer_is_poison_that_names_where_it_points(self) -> None:
        """The operator sees what is missing."""
        world = StrictWorld()
        queue = await world.queue()
        await world.put("work", pointer("bucket", "key"), MessageAttributes=POINTER_SIZE)
        (delivery,) = await queue.receive(1, NOW)
        assert delivery.poison is not None
        assert "s3://bucket/key" in delivery.poison

    async def test_while_the_store_is_down_its_messages_wait(self) -> None:
        """Others of the same receive are delivered."""
        store = MemoryPayloads()
        world = StrictWorld(store)
        queue = await world.queue(payload_bucket="bucket", max_task_bytes=10_000_000)
        await queue.enqueue_batch([a_task("large", payload="x" * 2_000_000), a_task("small")])
        store.down = True
        (delivery,) = await queue.receive(10, NOW)
        assert delivery.task is not None
        assert "small" == delivery.task.id
        store.down = False
        assert [] == await queue.receive(10, NOW)
        await world.clock.advance(PAYLOAD_PAUSE)
        (delivery,) = await queue.receive(10, NOW)
        assert delivery.task is not None
        assert "large" == delivery.task.id

    async def test_a_store_that_is_down_dead_letters_nothing(self) -> None:
        """At the last allowed receive the message is sent again, pointer and all."""
        store = MemoryPayloads()
        world = StrictWorld(store)
        queue = await world.queue(payload_bucket="bucket", max_task_bytes=10_000_000, max_receive_count=1)
        await queue.enqueue(a_task("large", payload="x" * 2_000_000))
        store.down = True
        for _ in range(3):
            assert [] == await queue.receive(10, NOW)
            await world.clock.advance(PAYLOAD_PAUSE)
        store.down = False
        (delivery,) = await queue.receive(10, NOW)
        assert delivery.task is not None
        assert (1, "large") == (delivery.receive_count, delivery.task.id)

    async def test_messages_whose_giving_back_fails_cost_their_neighbours_nothing(self) -> None:
        """What is ready is delivered; the others come back when their lease ends."""
        store = MemoryPayloads()
        world = StrictWorld(store)
        queue = await world.queue(payload_bucket="bucket", max_task_bytes=10_000_000)
        await queue.enqueue_batch([a_task("large", payload="x" * 2_000_000), a_task("small")])
        store.down = True
        world.sqs.fail("ChangeMessageVisibilityBatch", client_error("AccessDenied", status=403))
        (delivery,) = await queue.receive(10, NOW)
        assert delivery.task is not None
        assert "small" == delivery.task.id

    async def test_an_unforeseen_error_of_the_store_costs_neighbours_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A message that was received and is returned by nobody stays hidden, and uses up a receive."""
        store = MemoryPayloads()
        world = StrictWorld(store)
        queue = await world.queue(payload_bucket="bucket", max_task_bytes=10_000_000)
        await queue.enqueue_batch([a_task("large", payload="x" * 2_000_000), a_task("small")])

        async def fail(_: object) -> str:
            raise ZeroDivisionError

        monkeypatch.setattr(store, "get", fail)
        (delivery,) = await queue.receive(10, NOW)
        assert delivery.task is not None
        assert "small" == delivery.task.id

    @pytest.mark.parametrize(
        ("denied", "waited"), [(True, 5 * MINUTE), (False, 60 * MINUTE)], ids=["refused", "not answered"]
    )
    async def test_a_body_is_not_waited_for_without_end(self, *, denied: bool, waited: timedelta) -> None:
        """Its message is poison then, which says whose task it is, and reaches the dead-letter queue."""
        store = MemoryPayloads()
        world = StrictWorld(store)
        queue = await world.queue(payload_bucket="bucket", max_task_bytes=10_000_000)
        await queue.enqueue(a_task("large", payload="x" * 2_000_000, redrive_count=2))
        store.down, store.denied = not denied, denied
        began = world.clock.monotonic()
        while not (deliveries := await queue.receive(1, NOW)):
            await world.clock.advance(PAYLOAD_PAUSE)
        assert waited <= timedelta(seconds=world.clock.monotonic() - began) <= waited + PAYLOAD_PAUSE
        (delivery,) = deliveries
        assert delivery.poison is not None
        assert "could not be fetched" in delivery.poison
        assert ("large", 2) == (delivery.task_id, delivery.generation)
        dead_letter = DeadLetterMessage(task=None, reason="gone", failed_at=START, original_queue="work")
        await queue.dead_letter(delivery, dead_letter)
        assert 1 == len(world.sqs.bodies("dlq"))
        assert "large" == world.sqs.queues["dlq"].messages[0].entry["MessageAttributes"]["TaskId"]["StringValue"]

    async def test_nothing_of_a_fifo_group_overtakes_a_body_that_is_not_there(self) -> None:
        """What was received behind it is given back; other groups go on."""
        store = MemoryPayloads()
        world = StrictWorld(store)
        queue = await world.queue(
            "work.fifo", dlq="dlq.fifo", payload_bucket="bucket", max_task_bytes=10_000_000, visibility_timeout=MINUTE
        )
        large = a_task("large", group="g", payload="x" * 2_000_000)
        await queue.enqueue_batch([large, a_task("behind", group="g"), a_task("other", group="h")])
        store.down = True
        deliveries = await queue.receive(10, NOW)
        assert ["other"] == [delivery.task.id for delivery in deliveries if delivery.task]
        store.down = False
        await world.clock.advance(PAYLOAD_PAUSE)
        deliveries = await queue.receive(10, NOW)
        assert ["large", "behind"] == [delivery.task.id for delivery in deliveries if delivery.task]

    async def test_a_stored_body_of_a_dead_letter_is_kept(self) -> None:
        """The store forgets others after a while."""
        store = MemoryPayloads()
        world = StrictWorld(store)
        queue = await world.queue(payload_bucket="bucket", max_task_bytes=10_000_000)
        task = a_task("t-1", payload="x" * 2_000_000)
        await queue.enqueue(task)
        (delivery,) = await queue.receive(1, NOW)
        await queue.dead_letter(delivery, dead_letter_message(task, "boom", START, "work"))
        (kept,) = store.kept
        assert "boom" in store.bodies[kept]

    async def test_a_stored_body_of_poison_is_kept(self) -> None:
        """It is not copied: its message goes on pointing to it."""
        store = MemoryPayloads()
        world = StrictWorld(store)
        queue = await world.queue()
        where = await store.put("bucket", "<task/>")
        await world.put("work", pointer(where.bucket, where.key), MessageAttributes=POINTER_SIZE)
        (delivery,) = await queue.receive(1, NOW)
        assert "<task/>" == delivery.body
        await queue.dead_letter(
            delivery, DeadLetterMessage(task=None, reason="no JSON", failed_at=START, original_queue="work")
        )
        assert {where} == store.kept
        assert [pointer(where.bucket, where.key)] == world.sqs.bodies("dlq")


@pytest.mark.parametrize(("lease", "wait"), [(5, 2), (30, 10), (60, 20), (300, 20)])
async def test_a_poll_lasts_at_most_a_third_of_the_lease(lease: int, wait: int) -> None:
    """The lease counts from before the poll: what a longer one brings at its end would be lost on arrival."""
    world = StrictWorld()
    queue = await world.queue(visibility_timeout=lease * SECOND)
    await queue.enqueue(a_task("t-1"))
    await queue.receive(1, 20 * SECOND)
    assert [wait] == [request["WaitTimeSeconds"] for request in world.sqs.made("ReceiveMessage")]


async def test_a_message_that_sqs_moved_names_its_source() -> None:
    """By the name that clients know, or the queue's own where it is not configured."""
    world = StrictWorld()
    queue = await world.queue()
    world.names["arn:aws:sqs:us-east-1:111122223333:theirs"] = "work"
    for source in ("theirs", "strange"):
        await queue.enqueue(a_task(source))
        world.sqs.queues["work"].messages[-1].source = f"arn:aws:sqs:us-east-1:111122223333:{source}"
    deliveries = await queue.receive(10, NOW)
    assert ["work", "strange"] == [delivery.source_queue for delivery in deliveries]
