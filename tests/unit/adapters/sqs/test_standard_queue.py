"""Standard queues, against SQS as strict as its documentation."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mcp_queue.adapters.sqs.messages import SqsDelivery, own
from mcp_queue.domain.delivery import Accepted, DeadLetterMessage, Delivery, Requeued
from mcp_queue.domain.errors import (
    BackendRefusedError,
    BackendUnavailableError,
    InvalidTaskError,
    NotSupportedError,
    RateLimitedError,
    TaskTooLargeError,
    VisibilityTimeoutError,
)
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.task import Task
from mcp_queue.ports import Queue
from tests.support.clock import HOUR, MINUTE, NOW, SECOND, START
from tests.support.sqs.strict_queues import StrictWorld
from tests.support.sqs.strict_server import client_error
from tests.support.tasks import a_task

LEASE = 300 * SECOND


async def take(queue: Queue) -> Delivery:
    """Receive one message."""
    (delivery,) = await queue.receive(1, NOW)
    return delivery


def sent(world: StrictWorld) -> list[dict[str, Any]]:
    """Return every entry that was sent, in order."""
    return [entry for request in world.sqs.made("SendMessageBatch") for entry in request["Entries"]]


class TestEnqueue:
    """Sending tasks."""

    async def test_a_message_carries_type_priority_and_trace_beside_the_body(self) -> None:
        """What filters and tracing tools read without parsing."""
        world = StrictWorld()
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await (await world.queue()).enqueue(a_task("t-1", type="echo", priority=2, traceparent=trace))
        expected = {
            "Type": {"DataType": "String", "StringValue": "echo"},
            "Priority": {"DataType": "Number", "StringValue": "2"},
            "traceparent": {"DataType": "String", "StringValue": trace},
        }
        assert expected == sent(world)[0]["MessageAttributes"]

    async def test_a_failure_that_nobody_foresaw_is_the_verdict_on_its_own_task(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What else was sent is known to be there."""
        world = StrictWorld()
        queue = await world.queue(max_task_bytes=2 * 1024 * 1024)
        world.sqs.fail("SendMessageBatch", RuntimeError("a defect"))
        tasks = [a_task(str(number), payload="x" * 900_000) for number in range(2)]
        refused, accepted = await queue.enqueue_batch(tasks)
        assert isinstance(refused, BackendUnavailableError)
        assert isinstance(accepted, Accepted)
        assert "a defect" in caplog.text

    async def test_a_trace_that_is_none_is_left_out(self) -> None:
        """What a client wrote into a header must not make its task unsendable."""
        world = StrictWorld()
        await (await world.queue()).enqueue(a_task("t-1", traceparent="\x00"))
        assert {"Type", "Priority"} == sent(world)[0]["MessageAttributes"].keys()

    async def test_a_delay_rounds_up_to_seconds(self) -> None:
        """A task is never early."""
        world = StrictWorld()
        await (await world.queue()).enqueue(a_task("t-1", scheduled_for=START + timedelta(seconds=1.2)))
        assert 2 == sent(world)[0]["DelaySeconds"]

    async def test_a_delay_over_900_seconds_begins_with_a_hop(self) -> None:
        """The task says itself when it is due."""
        world = StrictWorld()
        await (await world.queue()).enqueue(a_task("t-1", scheduled_for=START + HOUR))
        assert 900 == sent(world)[0]["DelaySeconds"]
        assert "2026-01-01T01:00:00.000000Z" == json.loads(sent(world)[0]["MessageBody"])["scheduled_for"]

    async def test_a_group_is_the_tenant_of_a_fair_queue(self) -> None:
        """SQS shares a standard queue fairly among groups."""
        world = StrictWorld()
        await (await world.queue()).enqueue(a_task("t-1", group="tenant"))
        assert "tenant" == sent(world)[0]["MessageGroupId"]

    async def test_a_group_that_sqs_refuses_is_refused_by_name(self) -> None:
        """The caller learns which member to change."""
        world = StrictWorld()
        with pytest.raises(InvalidTaskError) as refusal:
            await (await world.queue()).enqueue(a_task("t-1", group="zwei Wörter"))
        assert ("body", "group") == refusal.value.errors[0].loc
        assert [] == sent(world)

    async def test_room_is_left_for_retries_and_reasons(self) -> None:
        """The limit is 8 KiB below the smaller one of the queue and its dead-letter queue."""
        world = StrictWorld()
        queue = await world.queue(dlq_attributes={"MaximumMessageSize": "100000"})
        with pytest.raises(TaskTooLargeError) as refusal:
            await queue.enqueue(a_task("t-1", payload="x" * 95_000))
        assert 100_000 - 8192 == refusal.value.limit
        assert refusal.value.actual > 95_000

    async def test_a_redriven_task_may_use_some_of_that_room(self) -> None:
        """It was taken before, and its count has made it longer."""
        world = StrictWorld()
        queue = await world.queue(attributes={"MaximumMessageSize": "100000"})
        body = a_task("t-1", payload="x" * 91_700, redrive_count=1)
        assert isinstance(await queue.enqueue(body), Accepted)
        with pytest.raises(TaskTooLargeError):
            await queue.enqueue(replace(body, redrive_count=0))

    async def test_a_queue_of_small_messages_keeps_half_of_its_limit(self) -> None:
        """The room left for retries never takes all."""
        world = StrictWorld()
        queue = await world.queue(attributes={"MaximumMessageSize": "1024"})
        assert isinstance(await queue.enqueue(a_task("t-1")), Accepted)

    async def test_a_batch_splits_by_ten_and_by_bytes(self) -> None:
        """No call carries more than SQS takes."""
        world = StrictWorld()
        queue = await world.queue()
        tasks = [a_task(f"t-{number}", payload="x" * 100_000) for number in range(25)]
        assert [Accepted] * 25 == [type(verdict) for verdict in await queue.enqueue_batch(tasks)]
        assert [10, 10, 5] == [len(request["Entries"]) for request in world.sqs.made("SendMessageBatch")]

    async def test_an_entry_that_sqs_failed_by_its_own_fault_is_sent_again(self) -> None:
        """HTTP 200 is not success, and the entry's own verdict counts."""
        world = StrictWorld()
        queue = await world.queue()
        world.sqs.fail_entries("SendMessageBatch", None, {"SenderFault": False, "Code": "InternalError"})
        tasks = [a_task("a"), a_task("b")]
        batch = world.run(queue.enqueue_batch(tasks))
        await world.clock.advance(MINUTE)
        assert [Accepted, Accepted] == [type(verdict) for verdict in await batch]
        assert ["0", "1", "0"] == [entry["Id"] for entry in sent(world)]

    async def test_a_lost_answer_is_unavailability(self) -> None:
        """It may or may not have been sent; the caller is told to come back."""
        world = StrictWorld()
        queue = await world.queue()
        world.sqs.fail("SendMessageBatch", client_error("KmsDisabled"))
        with pytest.raises(BackendUnavailableError):
            await queue.enqueue(a_task("t-1"))
        assert ["kms"] == world.metrics.outcomes("SendMessageBatch")


class TestLease:
    """Holding and deleting."""

    async def test_a_receive_states_its_lease_and_its_limit(self) -> None:
        """The queue's own default visibility does not matter."""
        world = StrictWorld()
        await (await world.queue(visibility_timeout=LEASE)).receive(7, timedelta(seconds=0.5))
        (request,) = world.sqs.made("ReceiveMessage")
        assert (7, 1, 300) == (
            request["MaxNumberOfMessages"],
            request["WaitTimeSeconds"],
            request["VisibilityTimeout"],
        )

    async def test_an_extension_over_what_is_left_of_twelve_hours_is_no_call(self) -> None:
        """SQS would refuse it, and emulators take it."""
        world = StrictWorld()
        queue = await world.queue()
        await queue.enqueue(a_task("t-1"))
        delivery = await take(queue)
        await world.clock.advance(4 * MINUTE)
        with pytest.raises(VisibilityTimeoutError):
            await queue.extend(delivery, 12 * HOUR - 4 * MINUTE)
        assert [] == world.sqs.made("ChangeMessageVisibilityBatch")
        await queue.extend(delivery, 11 * HOUR)

    async def test_a_message_that_is_no_longer_in_flight_is_a_lost_lease(self) -> None:
        """Whoever works on it has to stop."""
        world = StrictWorld()
        queue = await world.queue(visibility_timeout=LEASE)
        await queue.enqueue(a_task("t-1"))
        delivery = await take(queue)
        await world.clock.advance(LEASE)
        with pytest.raises(VisibilityTimeoutError):
            await queue.extend(delivery, LEASE)


class TestGivingBack:
    """Retries and releases."""

    async def test_a_retry_is_sent_before_its_delivery_is_deleted(self) -> None:
        """A crash in between makes two of it, never none."""
        world = StrictWorld()
        queue = await world.queue()
        task = a_task("t-1")
        await queue.enqueue(task)
        assert Requeued.REWRITTEN is await queue.retry(await take(queue), task.next_attempt(), 3 * SECOND)
        operations = [name for name, _ in world.sqs.requests]
        assert ["ReceiveMessage", "SendMessageBatch", "DeleteMessageBatch"] == operations[-3:]
        assert 3 == sent(world)[-1]["DelaySeconds"]
        assert 1 == json.loads(world.sqs.bodies("work")[0])["retry_count"]

    async def test_a_long_wait_for_a_retry_hops(self) -> None:
        """The task carries when it is due, since SQS holds it for 900 s only."""
        world = StrictWorld()
        queue = await world.queue()
        await queue.enqueue(a_task("t-1"))
        await queue.retry(await take(queue), a_task("t-1"), HOUR)
        assert 900 == sent(world)[-1]["DelaySeconds"]
        assert "2026-01-01T01:00:00.000000Z" == json.loads(sent(world)[-1]["MessageBody"])["scheduled_for"]

    async def test_a_second_try_of_a_retry_sends_nothing_twice(self) -> None:
        """When only the delete failed, only the delete is repeated."""
        world = StrictWorld()
        queue = await world.queue()
        await queue.enqueue(a_task("t-1"))
        delivery = await take(queue)
        world.sqs.fail("DeleteMessageBatch", client_error("AccessDenied"))
        with pytest.raises(BackendUnavailableError):
            await queue.retry(delivery, a_task("t-1", retry_count=1), NOW)
        await queue.retry(delivery, a_task("t-1", retry_count=1), NOW)
        assert 2 == len(sent(world))
        assert 1 == len(world.sqs.bodies("work"))

    async def test_a_lease_lost_after_the_retry_was_sent_is_no_error(self) -> None:
        """The retry is on its way; what is left is a stale copy."""
        world = StrictWorld()
        queue = await world.queue()
        await queue.enqueue(a_task("t-1"))
        delivery = await take(queue)
        world.sqs.fail_entries("DeleteMessageBatch", {"SenderFault": True, "Code": "ReceiptHandleIsInvalid"})
        await queue.retry(delivery, a_task("t-1", retry_count=1), NOW)
        assert 2 == len(world.sqs.bodies("work"))

    async def test_a_foreign_body_that_has_no_room_to_grow_keeps_its_message(self) -> None:
        """Where our own form of it would not fit it waits as it is."""
        world = StrictWorld()
        queue = await world.queue(attributes={"MaximumMessageSize": "2000"})
        await world.put("work", json.dumps({"type": "echo", "payload": "ä" * 900}, ensure_ascii=False))
        delivery = await take(queue)
        assert delivery.task is not None
        assert Requeued.HIDDEN is await queue.retry(delivery, delivery.task.next_attempt(), 10 * SECOND)
        assert [] == await queue.receive(1, NOW)
        await world.clock.advance(10 * SECOND)
        assert 2 == (await take(queue)).receive_count

    async def test_a_release_shows_the_same_message_again(self) -> None:
        """Nothing is sent."""
        world = StrictWorld()
        queue = await world.queue()
        await queue.enqueue(a_task("t-1"))
        first = await take(queue)
        await queue.release(first)
        assert first.message_id == (await take(queue)).message_id

    async def test_a_release_at_the_last_allowed_receive_sends_the_message_again(self) -> None:
        """Another receive would dead-letter a task that nothing is wrong with."""
        world = StrictWorld()
        queue = await world.queue(max_receive_count=2)
        foreign = {"Colour": {"DataType": "String", "StringValue": "blue"}}
        await world.put("work", '{"type":"echo","note":"grün"}', MessageAttributes=foreign, MessageGroupId="tenant")
        await queue.release(await take(queue))
        last = await take(queue)
        assert 2 == last.receive_count
        await queue.release(last)
        again = await take(queue)
        assert (1, last.body, "tenant", {"Colour": "blue"}) == (
            again.receive_count,
            again.body,
            again.group,
            again.attributes,
        )
        assert 1 == len(world.sqs.bodies("work"))

    async def test_what_is_configured_is_what_counts(self) -> None:
        """The redrive policy of SQS is a backstop, whatever it says."""
        queue = await StrictWorld().queue(attributes={"RedrivePolicy": _policy(7)}, max_receive_count=3)
        assert 3 == queue.spec.max_receive_count

    async def test_a_release_minds_a_policy_without_headroom(self) -> None:
        """SQS would dead-letter at its own count, though nothing is wrong with the message."""
        world = StrictWorld()
        queue = await world.queue(attributes={"RedrivePolicy": _policy(1)}, max_receive_count=3)
        await queue.enqueue(a_task("t-1"))
        (delivery,) = await queue.receive(1, NOW)
        await queue.release(delivery)
        (again,) = await queue.receive(1, NOW)
        assert 1 == again.receive_count
        assert delivery.message_id != again.message_id


def _policy(receives: int) -> str:
    target = "arn:aws:sqs:us-east-1:111122223333:dlq"
    return json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": str(receives)})


class TestDeadLetters:
    """What cannot succeed."""

    async def test_a_dead_letter_is_sent_before_its_delivery_is_deleted(self) -> None:
        """With the reason in its metadata."""
        world = StrictWorld()
        queue = await world.queue()
        await queue.enqueue(a_task("t-1", group="tenant"))
        delivery = await take(queue)
        await queue.dead_letter(delivery, dead_letter_message(a_task("t-1", group="tenant"), "boom", START, "work"))
        assert [] == world.sqs.bodies("work")
        assert "boom" == json.loads(world.sqs.bodies("dlq")[0])["metadata"]["failure_reason"]
        assert "tenant" == sent(world)[-1]["MessageGroupId"]

    async def test_a_second_try_of_a_dead_letter_sends_nothing_twice(self) -> None:
        """When only the delete failed, only the delete is repeated."""
        world = StrictWorld()
        queue = await world.queue()
        await queue.enqueue(a_task("t-1"))
        delivery = await take(queue)
        dead_letter = dead_letter_message(a_task("t-1"), "boom", START, "work")
        world.sqs.fail("DeleteMessageBatch", client_error("AccessDenied"))
        with pytest.raises(BackendUnavailableError):
            await queue.dead_letter(delivery, dead_letter)
        await queue.dead_letter(delivery, dead_letter)
        assert 1 == len(world.sqs.bodies("dlq"))

    async def test_poison_keeps_its_attributes_as_far_as_there_is_room(self) -> None:
        """Three of the ten are the reason's, whose refused characters are replaced."""
        world = StrictWorld()
        queue = await world.queue()
        foreign = {f"a{number}": {"DataType": "String", "StringValue": "x"} for number in range(10)}
        await world.put("work", "<task/>", MessageAttributes=foreign)
        dead_letter = DeadLetterMessage(task=None, reason="bad \x00", failed_at=START, original_queue="work")
        await queue.dead_letter(await take(queue), dead_letter)
        attributes = sent(world)[-1]["MessageAttributes"]
        assert 10 == len(attributes)
        assert "bad \ufffd" == attributes["failure_reason"]["StringValue"]

    @pytest.mark.parametrize("character", ["\x00", "\ufffe", "\ud800"])
    async def test_poison_with_characters_that_sqs_refuses_is_dead_lettered(self, character: str) -> None:
        """An emulator lets another client send them; SQS does not, so they are replaced."""
        world = StrictWorld()
        queue = await world.queue()
        await world.put("work", "<task/>")
        delivery = await take(queue)
        assert isinstance(delivery, SqsDelivery)
        delivery.wire = replace(delivery.wire, body=f"<{character}>")

        await queue.dead_letter(
            delivery, DeadLetterMessage(task=None, reason="no JSON", failed_at=START, original_queue="work")
        )

        assert ["<\ufffd>"] == world.sqs.bodies("dlq")

    async def test_a_task_that_does_not_fit_with_its_reason_goes_as_it_came(self) -> None:
        """Its reason stands in attributes."""
        world = StrictWorld()
        queue = await world.queue(
            attributes={"MaximumMessageSize": "2000"}, dlq_attributes={"MaximumMessageSize": "2000"}
        )
        body = json.dumps({"type": "echo", "payload": "ä" * 900}, ensure_ascii=False)
        await world.put("work", body)
        delivery = await take(queue)
        assert delivery.task is not None
        await queue.dead_letter(delivery, dead_letter_message(delivery.task, "boom", START, "work"))
        assert [body] == world.sqs.bodies("dlq")
        assert "boom" == sent(world)[-1]["MessageAttributes"]["failure_reason"]["StringValue"]

    async def test_a_body_without_any_room_goes_without_a_reason(self) -> None:
        """Nothing is lost but the words."""
        world = StrictWorld()
        queue = await world.queue(
            attributes={"MaximumMessageSize": "2000"}, dlq_attributes={"MaximumMessageSize": "2000"}
        )
        await world.put("work", "x" * 2000)
        dead_letter = DeadLetterMessage(task=None, reason="no JSON", failed_at=START, original_queue="work")
        await queue.dead_letter(await take(queue), dead_letter)
        assert ["x" * 2000] == world.sqs.bodies("dlq")
        assert {} == sent(world)[-1]["MessageAttributes"]

    async def test_without_a_dead_letter_queue_there_is_nowhere_to_send_it(self) -> None:
        """The caller is told, and the message stays."""
        world = StrictWorld()
        queue = await world.queue(dlq=None)
        await queue.enqueue(a_task("t-1"))
        delivery = await take(queue)
        with pytest.raises(NotSupportedError):
            await queue.dead_letter(delivery, dead_letter_message(a_task("t-1"), "boom", START, "work"))
        assert 1 == len(world.sqs.bodies("work"))


class TestOperators:
    """Looking after a queue."""

    async def test_a_second_purge_within_a_minute_is_refused(self) -> None:
        """SQS says so, and the caller learns when to come back."""
        world = StrictWorld()
        queue = await world.queue()
        await queue.purge()
        with pytest.raises(RateLimitedError) as refusal:
            await queue.purge()
        assert MINUTE == refusal.value.retry_after

    async def test_stats_count_what_sqs_counts(self) -> None:
        """Waiting, in flight, delayed and dead; the attributes beside them."""
        world = StrictWorld()
        queue = await world.queue()
        await queue.enqueue_batch([a_task("a"), a_task("b"), a_task("c", scheduled_for=START + MINUTE)])
        await take(queue)
        await world.put("dlq", "{}")
        stats = await queue.stats()
        assert (1, 1, 1, 1) == (
            stats.approximate_messages,
            stats.inflight_messages,
            stats.delayed_messages,
            stats.dead_letters,
        )
        assert "30" == stats.attributes["VisibilityTimeout"]

    async def test_stats_name_no_account_role_or_key(self) -> None:
        """They go to every client that may read the queue."""
        world = StrictWorld()
        private = {"Policy": "{}", "KmsMasterKeyId": "alias/tasks", "RedriveAllowPolicy": "{}"}
        queue = await world.queue(attributes=private)
        shown = (await queue.stats()).attributes
        assert set() == {*private, "QueueArn"} & shown.keys()

    async def test_the_age_is_that_of_what_was_received_last(self) -> None:
        """And unknown when that is long ago, or nothing waits."""
        world = StrictWorld()
        queue = await world.queue()
        assert (await queue.stats()).oldest_message_age is None
        await queue.enqueue_batch([a_task("a"), a_task("b")])
        assert (await queue.stats()).oldest_message_age is None
        await world.clock.advance(5 * SECOND)
        await take(queue)
        assert 5 * SECOND == (await queue.stats()).oldest_message_age
        await world.clock.advance(61 * SECOND)
        assert (await queue.stats()).oldest_message_age is None

    @pytest.mark.parametrize("code", ["QueueDoesNotExist", "AccessDenied", "RequestThrottled", "KmsDisabled"])
    async def test_a_refusal_of_a_ping_is_an_answer(self, code: str) -> None:
        """SQS works: another queue may be usable."""
        world = StrictWorld()
        queue = await world.queue()
        world.sqs.fail("GetQueueAttributes", *[client_error(code)] * 10)
        with pytest.raises(BackendRefusedError):
            await queue.ping()

    async def test_a_ping_without_an_answer_is_none(self) -> None:
        """SQS may be away."""
        world = StrictWorld()
        queue = await world.queue()
        for _ in range(10):
            world.sqs.lose_answer("GetQueueAttributes")
        with pytest.raises(BackendUnavailableError) as raised:
            await queue.ping()
        assert not isinstance(raised.value, BackendRefusedError)

    async def test_a_ping_asks_for_one_attribute(self) -> None:
        """It counts nothing."""
        world = StrictWorld()
        await (await world.queue()).ping()
        assert ["QueueArn"] == world.sqs.made("GetQueueAttributes")[-1]["AttributeNames"]


async def test_a_delivery_of_another_backend_is_not_settled_here() -> None:
    """That would be a defect of the caller."""
    delivery = Delivery(queue="q", message_id="m", receipt_handle="h", body="", receive_count=1, leased_at=0.0)
    with pytest.raises(AssertionError):
        own(delivery)


async def test_a_task_is_read_back_as_it_was_sent() -> None:
    """Priority, trace and all."""
    world = StrictWorld()
    queue = await world.queue()
    task: Task = a_task("t-1", payload={"ä": ["\u0000", 1.5]}, priority=3, group="g", extra={"x": None})
    await queue.enqueue(task)
    assert task == (await take(queue)).task


async def test_a_dead_letter_that_sqs_moved_is_never_sent_again() -> None:
    """However often it is released, it says which queue it came from."""
    world = StrictWorld()
    queue = await world.queue("dlq", dlq=None)
    await queue.enqueue(a_task("t-1"))
    world.sqs.queues["dlq"].messages[-1].source = "arn:aws:sqs:us-east-1:111122223333:tasks"
    for _ in range(5):
        delivery = await take(queue)
        assert "tasks" == delivery.source_queue
        await queue.release(delivery)
    assert 1 == len(sent(world))


class TestDeletesThatWaitForCompany:
    """Where a ledger drops duplicates."""

    async def test_a_completion_returns_before_its_message_is_deleted(self) -> None:
        """The slot is free at once; closing deletes what waits."""
        world = StrictWorld(delete_linger=MINUTE)
        queue = await world.queue()
        await queue.enqueue_batch([a_task("a"), a_task("b")])
        for delivery in await queue.receive(10, NOW):
            await queue.complete(delivery)
        assert [] == world.sqs.made("DeleteMessageBatch")
        await queue._channel.aclose()
        (request,) = world.sqs.made("DeleteMessageBatch")
        assert 2 == len(request["Entries"])
        assert [] == world.sqs.bodies("work")

    async def test_a_process_that_ends_lets_nothing_wait(self) -> None:
        """What it leaves behind would come again."""
        world = StrictWorld(delete_linger=MINUTE)
        queue = await world.queue()
        await queue.enqueue(a_task("a"))
        await queue.complete(await take(queue))
        queue.stop_waiting()
        await queue._channel.aclose()
        assert [] == world.sqs.bodies("work")

    async def test_a_delete_that_fails_is_told_in_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        """Its message comes again, and the ledger drops it."""
        world = StrictWorld(delete_linger=MINUTE)
        queue = await world.queue()
        await queue.enqueue(a_task("a"))
        await queue.complete(await take(queue))
        world.sqs.fail("DeleteMessageBatch", client_error("AccessDenied", status=403))
        await queue._channel.aclose()
        assert "a message that is done comes again" in caplog.text
