"""FIFO queues, against SQS as strict as its documentation."""

import json
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from mcp_queue.domain.delivery import Accepted, DeadLetterMessage, Requeued
from mcp_queue.domain.errors import (
    BackendUnavailableError,
    DelayNotSupportedError,
    InvalidTaskError,
    VisibilityTimeoutError,
)
from mcp_queue.domain.execution.retry import dead_letter_message
from tests.support.clock import HOUR, MINUTE, NOW, SECOND, START
from tests.support.sqs.strict_queues import StrictWorld
from tests.support.tasks import a_task


def sent(world: StrictWorld) -> list[dict[str, Any]]:
    """Return every entry that was sent, in order."""
    return [entry for request in world.sqs.made("SendMessageBatch") for entry in request["Entries"]]


def sent_ids(world: StrictWorld) -> list[str]:
    """Return the deduplication ids that were sent."""
    return [entry["MessageDeduplicationId"] for entry in sent(world)]


class TestSending:
    """Groups, deduplication and what a FIFO queue cannot do."""

    async def test_a_task_without_a_group_joins_the_queues_own(self) -> None:
        """On a FIFO queue every message has a group."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo", message_group_id="all")
        await queue.enqueue_batch([a_task("a"), a_task("b", group="g")])
        assert ["all", "g"] == [entry["MessageGroupId"] for entry in sent(world)]

    async def test_a_first_send_is_deduplicated_by_its_own_id(self) -> None:
        """Or by the one that the client gave, hashed where SQS would refuse it."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        tasks = [
            a_task("a"),
            a_task("b", deduplication_id="same"),
            a_task("c", deduplication_id="zwei Wörter"),
        ]
        await queue.enqueue_batch(tasks)
        assert ["a", "same", sha256("zwei Wörter".encode()).hexdigest()] == sent_ids(world)

    async def test_a_redriven_task_is_not_swallowed_as_a_copy_of_itself(self) -> None:
        """Each generation has an id of its own."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        first = a_task("a", deduplication_id="same")
        await queue.enqueue(first)
        await queue.enqueue(a_task("a", deduplication_id="same", redrive_count=1))
        assert ["same", "a.1"] == sent_ids(world)
        assert 2 == len(world.sqs.bodies("work.fifo"))

    async def test_a_task_that_was_held_until_due_is_not_swallowed_by_another_send(self) -> None:
        """Its client's id may have been used again meanwhile."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        held = a_task("a", deduplication_id="same", created_at=START - HOUR, scheduled_for=START)
        await queue.enqueue(held)
        assert ["a.0"] == sent_ids(world)

    async def test_a_task_due_within_a_second_is_sent_directly(self) -> None:
        """Nobody held it, so that its own deduplication id counts."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        await queue.enqueue(a_task("a", scheduled_for=START + SECOND))
        assert ["a"] == sent_ids(world)
        assert "DelaySeconds" not in sent(world)[0]

    async def test_a_delay_is_refused(self) -> None:
        """SQS holds no single message of a FIFO queue back."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        with pytest.raises(DelayNotSupportedError):
            await queue.enqueue(a_task("t-1", scheduled_for=START + timedelta(seconds=1.1)))
        assert timedelta(0) == queue.traits.max_delay

    async def test_more_retries_than_receives_allow_are_refused(self) -> None:
        """Ten receives for each attempt is what the queue's limit has to cover."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo", max_receive_count=100, max_retries=3)
        assert isinstance(await queue.enqueue(a_task("t-1", max_retries=9)), Accepted)
        with pytest.raises(InvalidTaskError) as refusal:
            await queue.enqueue(a_task("t-1", max_retries=10))
        assert ("body", "max_retries") == refusal.value.errors[0].loc

    async def test_as_many_retries_as_the_queue_has_are_always_taken(self) -> None:
        """What the operator configured is not the client's fault."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo", max_receive_count=10, max_retries=5)
        assert isinstance(await queue.enqueue(a_task("t-1", max_retries=5)), Accepted)

    async def test_a_group_is_sent_in_order_by_one_call_at_a_time(self) -> None:
        """However many tasks come at once."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        names = [f"t-{number}" for number in range(35)]
        await queue.enqueue_batch([a_task(name, group="g") for name in names])
        assert names == sent_ids(world)

    async def test_a_failed_task_is_not_sent_behind_a_later_one(self) -> None:
        """Its caller is told instead, and can decide."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        world.sqs.fail_entries("SendMessageBatch", {"SenderFault": False, "Code": "InternalError"}, None)
        first, second = await queue.enqueue_batch([a_task("a", group="g"), a_task("b", group="g")])
        assert isinstance(first, BackendUnavailableError)
        assert isinstance(second, Accepted)
        assert ["a", "b"] == sent_ids(world)


class TestReceiving:
    """Receives and settlements."""

    async def test_a_receive_names_its_attempt(self) -> None:
        """So that SQS can answer it again."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        await queue.receive(1, NOW)
        await queue.receive(1, NOW)
        first, second = (request["ReceiveRequestAttemptId"] for request in world.sqs.made("ReceiveMessage"))
        assert first != second

    async def test_a_receive_whose_answer_was_lost_is_repeated_as_the_same_attempt(self) -> None:
        """What it hid is given to the second try."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        await queue.enqueue(a_task("t-1"))
        world.sqs.lose_answer("ReceiveMessage")
        assert 1 == len(await queue.receive(1, NOW))
        first, second = (request["ReceiveRequestAttemptId"] for request in world.sqs.made("ReceiveMessage"))
        assert first == second

    async def test_a_receive_that_hung_is_not_repeated(self) -> None:
        """It has taken its time already; the next receive is the consumer's to ask for."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        world.sqs.fail("ReceiveMessage", TimeoutError())
        with pytest.raises(BackendUnavailableError):
            await queue.receive(1, NOW)
        assert 1 == len(world.sqs.made("ReceiveMessage"))

    async def test_a_retry_hides_the_message_and_holds_the_group(self) -> None:
        """Sending it again would cost its place."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        await queue.enqueue_batch([a_task("a", group="g"), a_task("b", group="g")])
        (head,) = await queue.receive(1, NOW)
        assert Requeued.HIDDEN is await queue.retry(head, a_task("a", retry_count=1), MINUTE)
        assert [] == await queue.receive(1, NOW)
        await world.clock.advance(MINUTE)
        (again,) = await queue.receive(1, NOW)
        assert head.message_id == again.message_id
        assert not queue.traits.rewrites

    @pytest.mark.parametrize("scope", ["queue", "messageGroup"])
    async def test_a_queue_says_how_far_a_deduplication_id_counts(self, scope: str) -> None:
        """It is an attribute at SQS."""
        queue = await StrictWorld().queue("work.fifo", dlq="dlq.fifo", attributes={"DeduplicationScope": scope})
        assert (scope == "messageGroup") is queue.traits.deduplicates_by_group

    async def test_a_wait_is_cut_at_what_is_left_of_twelve_hours(self) -> None:
        """SQS would refuse more; the message comes back early instead."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo", visibility_timeout=11 * HOUR)
        await queue.enqueue(a_task("t-1"))
        (delivery,) = await queue.receive(1, NOW)
        await world.clock.advance(10 * HOUR)
        await queue.retry(delivery, a_task("t-1", retry_count=1), 5 * HOUR)
        (request,) = world.sqs.made("ChangeMessageVisibilityBatch")
        assert 2 * 3600 - 5 == request["Entries"][0]["VisibilityTimeout"]

    async def test_a_release_is_only_ever_visibility_zero(self) -> None:
        """Also at the last allowed receive."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo", max_receive_count=1)
        await queue.enqueue(a_task("t-1"))
        (delivery,) = await queue.receive(1, NOW)
        await queue.release(delivery)
        assert 1 == len(sent(world))
        assert 1 == len(await queue.receive(1, NOW))

    async def test_an_expired_handle_is_a_lost_lease(self) -> None:
        """FIFO queues delete nothing outside of the visibility timeout."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo", visibility_timeout=MINUTE)
        await queue.enqueue(a_task("t-1"))
        (delivery,) = await queue.receive(1, NOW)
        await world.clock.advance(MINUTE)
        with pytest.raises(VisibilityTimeoutError):
            await queue.complete(delivery)


class TestDeadLetters:
    """Letters of FIFO queues."""

    async def test_a_dead_letter_keeps_its_group_and_has_the_id_of_its_generation(self) -> None:
        """So that a redriven task that dies again is not swallowed."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        for generation in (0, 1):
            task = a_task("a", group="g", redrive_count=generation)
            await queue.enqueue(task)
            (delivery,) = await queue.receive(1, NOW)
            await queue.dead_letter(delivery, dead_letter_message(task, "boom", START, "work"))
        dead_letters = world.sqs.queues["dlq.fifo"].messages
        assert ["a.0", "a.1"] == [dead_letter.entry["MessageDeduplicationId"] for dead_letter in dead_letters]
        assert ["g", "g"] == [dead_letter.entry["MessageGroupId"] for dead_letter in dead_letters]

    async def test_poison_has_the_id_of_its_message(self) -> None:
        """It has no other."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq.fifo")
        await world.put("work.fifo", "<task/>", MessageGroupId="g", MessageDeduplicationId="x")
        (delivery,) = await queue.receive(1, NOW)
        dead_letter = DeadLetterMessage(task=None, reason="no JSON", failed_at=START, original_queue="work")
        await queue.dead_letter(delivery, dead_letter)
        assert (delivery.message_id, "g") == (
            sent(world)[-1]["MessageDeduplicationId"],
            sent(world)[-1]["MessageGroupId"],
        )

    async def test_dead_letters_may_go_to_a_standard_queue(self) -> None:
        """Only SQS's own redrive policy needs a queue of the same kind. The task stays as it is."""
        world = StrictWorld()
        queue = await world.queue("work.fifo", dlq="dlq")
        await queue.enqueue(a_task("t-1"))
        (delivery,) = await queue.receive(1, NOW)
        await queue.dead_letter(delivery, dead_letter_message(a_task("t-1"), "boom", START, "work"))
        assert "group" not in json.loads(world.sqs.bodies("dlq")[0])
        assert "default" == sent(world)[-1]["MessageGroupId"]
