"""What a ``Queue`` promises, on every backend."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_queue.domain.delivery import Accepted, DeadLetterMessage, Requeued
from mcp_queue.domain.errors import DelayNotSupportedError, NotSupportedError, TaskTooLargeError, VisibilityTimeoutError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.queues import MAX_SQS_DELAY, RECEIVES_HEADROOM
from tests.support.clock import HOUR, NOW, SECOND, START
from tests.support.queues.harness import LEASE, QueueHarness, ids, take, take_one
from tests.support.tasks import a_task

# Longer than any test may take: who waits this long for a message waits in vain.
LONG = timedelta(seconds=10)


class TestEnqueue:
    """Putting tasks in."""

    @pytest.mark.second_emulator
    async def test_a_task_comes_back_as_it_was_enqueued(self, harness: QueueHarness) -> None:
        """Every member of a task survives its way through the queue."""
        queue, _ = await harness.queue()
        task = a_task(
            "t-1",
            payload={"text": "naïve 雪 \u0000 \U0001f600", "numbers": [1, 2.5, None, True]},
            priority=2,
            metadata={"k": "v"},
            expires_at=START + 5 * HOUR,
            max_retries=7,
            retry_count=2,
            redrive_count=1,
            visibility_timeout=timedelta(seconds=90),
            callback_url="https://example.org/done",
            group="tenant",
            extra={"unknown": [1]},
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        await queue.enqueue(task)
        assert task == (await take_one(harness, queue)).task

    @pytest.mark.second_emulator
    async def test_the_answer_names_the_message_that_is_received(self, harness: QueueHarness) -> None:
        """The message id of the acceptance is the one of the delivery."""
        queue, _ = await harness.queue()
        accepted = await queue.enqueue(a_task("t-1"))
        assert accepted == Accepted((await take_one(harness, queue)).message_id)

    async def test_concurrent_tasks_are_all_accepted(self, harness: QueueHarness) -> None:
        """Enqueues that run at the same time do not disturb each other."""
        queue, _ = await harness.queue()
        names = [f"t-{number}" for number in range(25)]
        accepted = await asyncio.gather(*(queue.enqueue(a_task(name)) for name in names))
        assert len(names) == len({verdict.message_id for verdict in accepted})
        assert sorted(names) == sorted(ids(await take(harness, queue, len(names))))

    @pytest.mark.second_emulator
    async def test_each_task_of_a_batch_has_its_own_verdict(self, harness: QueueHarness) -> None:
        """A task that is refused does not hold back the others, and verdicts come in the order given."""
        queue, _ = await harness.queue(max_task_bytes=1000)
        tasks = [a_task("a"), a_task("b", payload="x" * 1000), a_task("c")]
        first, second, third = await queue.enqueue_batch(tasks)
        assert isinstance(first, Accepted)
        assert isinstance(second, TaskTooLargeError)
        assert isinstance(third, Accepted)
        assert ["a", "c"] == sorted(ids(await take(harness, queue, 2)))

    async def test_a_batch_may_be_large(self, harness: QueueHarness) -> None:
        """More tasks than any backend takes in one call are accepted one and all."""
        queue, _ = await harness.queue()
        verdicts = await queue.enqueue_batch([a_task(f"t-{number}") for number in range(150)])
        assert [Accepted] * 150 == [type(verdict) for verdict in verdicts]

    async def test_an_empty_batch_does_nothing(self, harness: QueueHarness) -> None:
        """No tasks, no verdicts."""
        queue, _ = await harness.queue()
        assert [] == await queue.enqueue_batch([])

    async def test_a_task_over_the_limit_is_refused_with_both_sizes(self, harness: QueueHarness) -> None:
        """The refusal says how large the task is and how large it may be."""
        queue, _ = await harness.queue(max_task_bytes=1000)
        with pytest.raises(TaskTooLargeError) as refusal:
            await queue.enqueue(a_task("t-1", payload="x" * 2000))
        assert 1000 == refusal.value.limit
        assert refusal.value.actual > 2000

    @pytest.mark.second_emulator
    async def test_a_delayed_task_stays_hidden_until_it_is_due(self, harness: QueueHarness) -> None:
        """``scheduled_for`` is when a task can first be received."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1", scheduled_for=harness.clock.now() + 2 * SECOND))
        assert [] == await queue.receive(1, NOW)
        await harness.pass_time(2 * SECOND)
        assert ["t-1"] == ids(await take(harness, queue))

    async def test_a_task_scheduled_for_the_past_is_there_at_once(self, harness: QueueHarness) -> None:
        """What is overdue is due."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1", scheduled_for=harness.clock.now() - HOUR))
        assert ["t-1"] == ids(await take(harness, queue))

    async def test_a_delay_is_held_or_refused(self, harness: QueueHarness) -> None:
        """A delay that the backend cannot hold is refused, never shortened."""
        queue, _ = await harness.queue()
        longer = 2 * MAX_SQS_DELAY
        if queue.traits.rewrites and queue.traits.max_delay is not None:
            pytest.skip("the backend holds what it can, and the consumer sends it again for the rest")
        task = a_task("t-1", scheduled_for=harness.clock.now() + longer)
        if not harness.capabilities.any_delay:
            with pytest.raises(DelayNotSupportedError):
                await queue.enqueue(task)
            return
        await queue.enqueue(task)
        await harness.pass_time(longer - SECOND)
        assert [] == await queue.receive(1, NOW)
        await harness.pass_time(SECOND)
        assert ["t-1"] == ids(await take(harness, queue))


class TestReceive:
    """Taking messages out."""

    async def test_an_empty_queue_gives_nothing(self, harness: QueueHarness) -> None:
        """A receive that may not wait returns an empty list."""
        queue, _ = await harness.queue()
        assert [] == await queue.receive(10, NOW)

    async def test_a_receive_ends_when_its_wait_is_over(self, harness: QueueHarness) -> None:
        """A long poll of an empty queue returns an empty list in the end."""
        queue, _ = await harness.queue()
        poll = asyncio.create_task(queue.receive(10, SECOND))
        await harness.pass_time(2 * SECOND)
        assert [] == await poll

    @pytest.mark.second_emulator
    async def test_a_receive_gives_no_more_than_its_limit(self, harness: QueueHarness) -> None:
        """What is over the limit stays for the next receiver."""
        queue, _ = await harness.queue()
        await queue.enqueue_batch([a_task(f"t-{number}") for number in range(5)])
        first = await queue.receive(3, harness.patience)
        assert len(first) <= 3
        rest = await take(harness, queue, 5 - len(first))
        assert [f"t-{number}" for number in range(5)] == sorted(ids([*first, *rest]))

    @pytest.mark.second_emulator
    async def test_a_waiting_receive_gets_what_arrives(self, harness: QueueHarness) -> None:
        """A long poll ends with the first task that is enqueued."""
        queue, _ = await harness.queue()
        poll = asyncio.create_task(queue.receive(10, LONG))
        await asyncio.sleep(0)
        await queue.enqueue(a_task("t-1"))
        assert ["t-1"] == ids(await poll)

    async def test_a_process_that_ends_waits_no_longer_and_loses_nothing(self, harness: QueueHarness) -> None:
        """Where a backend can end its receives it does, and what arrives afterwards is received."""
        queue, _ = await harness.queue()
        poll = asyncio.create_task(queue.receive(10, LONG))
        await asyncio.sleep(0)
        queue.stop_waiting()
        if harness.capabilities.ends_receives:
            assert [] == await poll
            poll = asyncio.create_task(queue.receive(10, LONG))
            assert [] == await poll
            poll = asyncio.create_task(take(harness, queue))
        await queue.enqueue(a_task("t-1"))
        assert ["t-1"] == ids(await poll)

    async def test_a_waiting_receive_gets_what_comes_due(self, harness: QueueHarness) -> None:
        """A long poll ends when a delayed task comes due."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1", scheduled_for=harness.clock.now() + SECOND))
        poll = asyncio.create_task(queue.receive(10, LONG))
        await harness.pass_time(SECOND)
        assert ["t-1"] == ids(await poll)

    async def test_a_delivery_says_what_is_known_of_its_message(self, harness: QueueHarness) -> None:
        """Queue, first receive, time of sending, and a lease that began no later than the backend's."""
        queue, _ = await harness.queue()
        before = harness.clock.monotonic()
        await queue.enqueue(a_task("t-1"))
        delivery = await take_one(harness, queue)
        assert queue.spec.name == delivery.queue
        assert 1 == delivery.receive_count
        assert delivery.source_queue is None
        assert before <= delivery.leased_at <= harness.clock.monotonic()
        assert delivery.sent_at is not None
        assert abs(delivery.sent_at - harness.clock.now()) < 5 * SECOND

    async def test_a_level_goes_by_the_name_of_its_priority_queue(self, harness: QueueHarness) -> None:
        """Deliveries of a level name the queue that clients know."""
        queue, _ = await harness.queue(public_name="work")
        await queue.enqueue(a_task("t-1"))
        assert "work" == (await take_one(harness, queue)).queue

    @pytest.mark.second_emulator
    async def test_a_body_that_is_no_task_is_delivered_as_poison(self, harness: QueueHarness) -> None:
        """Whoever wrote it, a message that does not parse arrives with its body and the reason."""
        queue, _ = await harness.queue()
        await harness.put_raw(queue, "<task/>")
        delivery = await take_one(harness, queue)
        assert delivery.task is None
        assert "<task/>" == delivery.body
        assert delivery.poison
        assert "not JSON" in delivery.poison

    async def test_a_foreign_body_needs_only_its_type(self, harness: QueueHarness) -> None:
        """What a foreign message leaves out is filled from the message itself."""
        queue, _ = await harness.queue(max_retries=5)
        await harness.put_raw(queue, '{"type": "echo"}')
        delivery = await take_one(harness, queue)
        assert delivery.task is not None
        assert (delivery.message_id, queue.spec.name, 5) == (
            delivery.task.id,
            delivery.task.queue,
            delivery.task.max_retries,
        )


class TestLease:
    """Holding a message."""

    @pytest.mark.second_emulator
    async def test_a_received_message_is_hidden_until_its_lease_ends(self, harness: QueueHarness) -> None:
        """While one consumer holds a message nobody else gets it; then it comes again, counted."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1"))
        first = await take_one(harness, queue)
        assert [] == await queue.receive(1, NOW)
        await harness.pass_time(LEASE)
        second = await take_one(harness, queue)
        assert (first.message_id, 2) == (second.message_id, second.receive_count)
        assert first.receipt_handle != second.receipt_handle

    async def test_a_waiting_receive_gets_a_message_whose_lease_ends(self, harness: QueueHarness) -> None:
        """A long poll ends when somebody else's lease does."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1"))
        await take_one(harness, queue)
        poll = asyncio.create_task(queue.receive(1, LONG))
        await harness.pass_time(LEASE)
        assert ["t-1"] == ids(await poll)

    async def test_an_extended_lease_hides_the_message_for_longer(self, harness: QueueHarness) -> None:
        """An extension counts from the moment at which it is asked for."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1"))
        delivery = await take_one(harness, queue)
        await harness.pass_time(SECOND)
        await queue.extend(delivery, 3 * SECOND)
        await harness.pass_time(2 * SECOND)
        assert [] == await queue.receive(1, NOW)
        await queue.complete(delivery)

    @pytest.mark.second_emulator
    async def test_a_lease_is_never_longer_than_twelve_hours(self, harness: QueueHarness) -> None:
        """An extension beyond twelve hours from the receive is refused."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1"))
        delivery = await take_one(harness, queue)
        await harness.pass_time(SECOND)
        with pytest.raises(VisibilityTimeoutError):
            await queue.extend(delivery, 12 * HOUR)
        await queue.complete(delivery)

    async def test_twelve_hours_count_from_the_receive(self, harness: QueueHarness) -> None:
        """Extensions, however many, do not add up to more."""
        if not harness.capabilities.fake_time:
            pytest.skip("needs hours to pass")
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1"))
        delivery = await take_one(harness, queue)
        for _ in range(11):
            await queue.extend(delivery, HOUR)
            await harness.pass_time(HOUR - SECOND)
        await queue.extend(delivery, HOUR)
        with pytest.raises(VisibilityTimeoutError):
            await queue.extend(delivery, 2 * HOUR)

    async def test_a_completed_message_never_comes_again(self, harness: QueueHarness) -> None:
        """Completing deletes."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1"))
        await queue.complete(await take_one(harness, queue))
        await harness.pass_time(LEASE)
        assert [] == await queue.receive(1, NOW)

    async def test_many_messages_complete_at_the_same_time(self, harness: QueueHarness) -> None:
        """Concurrent settlements do not disturb each other."""
        queue, _ = await harness.queue()
        await queue.enqueue_batch([a_task(f"t-{number}") for number in range(20)])
        await asyncio.gather(*(queue.complete(delivery) for delivery in await take(harness, queue, 20)))
        await harness.pass_time(LEASE)
        assert [] == await queue.receive(1, NOW)

    async def test_a_lost_lease_can_no_longer_be_extended(self, harness: QueueHarness) -> None:
        """When another consumer has the message, its first holder is told."""
        if not harness.capabilities.stale_receipts_raise:
            pytest.skip("the backend cannot tell")
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1"))
        lost = await take_one(harness, queue)
        await harness.pass_time(LEASE)
        await take_one(harness, queue)
        with pytest.raises(VisibilityTimeoutError):
            await queue.extend(lost, LEASE)

    async def test_a_message_held_by_another_is_not_settled_under_him(self, harness: QueueHarness) -> None:
        """No settlement with a receipt that is no longer good touches the message."""
        if not harness.capabilities.stale_receipts_raise:
            pytest.skip("the backend cannot tell")
        queue, dead_letters = await harness.queue()
        task = a_task("t-1")
        await queue.enqueue(task)
        lost = await take_one(harness, queue)
        await harness.pass_time(LEASE)
        holder = await take_one(harness, queue)
        dead_letter = dead_letter_message(task, "boom", harness.clock.now(), queue.spec.name)
        for settlement in (
            queue.complete(lost),
            queue.release(lost),
            queue.retry(lost, task.next_attempt(), NOW),
            queue.dead_letter(lost, dead_letter),
        ):
            with pytest.raises(VisibilityTimeoutError):
                await settlement
        assert [] == await queue.receive(1, NOW)
        assert [] == await dead_letters.receive(1, NOW)
        await queue.complete(holder)

    async def test_a_message_that_nobody_took_after_its_lease_can_still_be_completed(
        self, harness: QueueHarness
    ) -> None:
        """A consumer that is late but alone does not do its work again."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1"))
        delivery = await take_one(harness, queue)
        await harness.pass_time(LEASE)
        await queue.complete(delivery)
        assert [] == await queue.receive(1, NOW)


class TestGivingBack:
    """Releases and retries."""

    @pytest.mark.second_emulator
    async def test_a_released_message_is_there_at_once(self, harness: QueueHarness) -> None:
        """A release does not wait for the lease to end."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1"))
        await queue.release(await take_one(harness, queue))
        delivery = await take_one(harness, queue)
        assert ["t-1"] == ids([delivery])
        if harness.capabilities.release_uncounts:
            assert 1 == delivery.receive_count

    async def test_a_waiting_receive_gets_what_is_released(self, harness: QueueHarness) -> None:
        """A long poll ends when another consumer gives a message back."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("t-1"))
        delivery = await take_one(harness, queue)
        poll = asyncio.create_task(queue.receive(1, LONG))
        await asyncio.sleep(0)
        await queue.release(delivery)
        assert ["t-1"] == ids(await poll)

    async def test_releases_never_dead_letter_a_healthy_task(self, harness: QueueHarness) -> None:
        """However often a message is released, it stays below ``max_receive_count``."""
        queue, _ = await harness.queue(max_receive_count=2)
        await queue.enqueue(a_task("t-1"))
        for _ in range(4):
            await queue.release(await take_one(harness, queue))
        assert ["t-1"] == ids(await take(harness, queue))

    @pytest.mark.second_emulator
    async def test_a_retry_comes_back_after_its_delay(self, harness: QueueHarness) -> None:
        """It carries its own counter where the backend rewrites messages, and says whether it does."""
        queue, _ = await harness.queue()
        task = a_task("t-1")
        await queue.enqueue(task)
        requeued = await queue.retry(await take_one(harness, queue), task.next_attempt(), SECOND)
        assert requeued is (Requeued.REWRITTEN if queue.traits.rewrites else Requeued.HIDDEN)
        assert [] == await queue.receive(1, NOW)
        await harness.pass_time(SECOND)
        delivery = await take_one(harness, queue)
        if queue.traits.rewrites:
            assert (task.next_attempt(), 1) == (delivery.task, delivery.receive_count)
        else:
            assert task == delivery.task

    async def test_a_deferral_comes_back_as_the_same_attempt(self, harness: QueueHarness) -> None:
        """It waits without counting anything."""
        queue, _ = await harness.queue()
        task = a_task("t-1", retry_count=1)
        await queue.enqueue(task)
        requeued = await queue.defer(await take_one(harness, queue), task, SECOND)
        assert requeued is (Requeued.REWRITTEN if queue.traits.rewrites else Requeued.HIDDEN)
        assert [] == await queue.receive(1, NOW)
        await harness.pass_time(SECOND)
        assert task == (await take_one(harness, queue)).task

    async def test_a_retry_carries_its_new_trace(self, harness: QueueHarness) -> None:
        """The trace of a retry travels with it."""
        queue, _ = await harness.queue()
        task = a_task("t-1", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        if not queue.traits.rewrites:
            pytest.skip("the backend does not rewrite messages")
        await queue.enqueue(a_task("t-1"))
        await queue.retry(await take_one(harness, queue), task, NOW)
        assert task == (await take_one(harness, queue)).task


class TestDeadLetters:
    """What cannot succeed."""

    @pytest.mark.second_emulator
    async def test_a_dead_letter_moves_to_the_dead_letter_queue(self, harness: QueueHarness) -> None:
        """It carries its reason, and its source no longer has it."""
        queue, dead_letters = await harness.queue()
        await queue.enqueue(a_task("t-1"))
        delivery = await take_one(harness, queue)
        assert delivery.task is not None
        dead_letter = dead_letter_message(delivery.task, "boom", START, queue.spec.public_name)
        await queue.dead_letter(delivery, dead_letter)
        dead = await take_one(harness, dead_letters)
        assert dead_letters.spec.name == dead.queue
        assert dead.source_queue is None
        assert dead.task is not None
        assert ("t-1", "boom", queue.spec.name) == (
            dead.task.id,
            dead.task.metadata["failure_reason"],
            dead.task.metadata["original_queue"],
        )
        await harness.pass_time(LEASE)
        assert [] == await queue.receive(1, NOW)

    @pytest.mark.second_emulator
    async def test_poison_travels_unchanged_with_its_reason_beside_it(self, harness: QueueHarness) -> None:
        """A body that is no task keeps every character; why it died stands in attributes."""
        queue, dead_letters = await harness.queue()
        await harness.put_raw(queue, "{broken")
        dead_letter = DeadLetterMessage(
            task=None, reason="not JSON", failed_at=START, original_queue=queue.spec.public_name
        )
        await queue.dead_letter(await take_one(harness, queue), dead_letter)
        dead = await take_one(harness, dead_letters)
        assert "{broken" == dead.body
        expected = {
            "failure_reason": "not JSON",
            "failed_at": "2026-01-01T00:00:00.000000Z",
            "original_queue": queue.spec.name,
        }
        assert expected == {name: dead.attributes[name] for name in expected}

    async def test_a_message_received_too_often_moves_by_itself(self, harness: QueueHarness) -> None:
        """A task that kills its consumers ends in the dead-letter queue, which names where it comes from."""
        queue, dead_letters = await harness.queue(max_receive_count=2 - RECEIVES_HEADROOM)
        await queue.enqueue(a_task("t-1"))
        for _ in range(queue.spec.backend_receives):
            await take_one(harness, queue)
            await harness.pass_time(LEASE)
        assert [] == await queue.receive(1, NOW)
        dead = await take_one(harness, dead_letters)
        assert (["t-1"], queue.spec.public_name) == (ids([dead]), dead.source_queue)

    async def test_a_waiting_receive_gets_a_dead_letter(self, harness: QueueHarness) -> None:
        """A long poll of a dead-letter queue ends when a dead letter comes in."""
        queue, dead_letters = await harness.queue()
        task = a_task("t-1")
        await queue.enqueue(task)
        poll = asyncio.create_task(dead_letters.receive(1, LONG))
        dead_letter = dead_letter_message(task, "boom", START, queue.spec.public_name)
        await queue.dead_letter(await take_one(harness, queue), dead_letter)
        assert ["t-1"] == ids(await poll)

    async def test_without_a_dead_letter_queue_a_message_keeps_coming(self, harness: QueueHarness) -> None:
        """Where there is nowhere to move a message to, nothing is lost."""
        queue, _ = await harness.queue(max_receive_count=1 - RECEIVES_HEADROOM, dead_letter_queue=None)
        await queue.enqueue(a_task("t-1"))
        for receive_count in (1, 2, 3):
            assert receive_count == (await take_one(harness, queue)).receive_count
            await harness.pass_time(LEASE)

    async def test_without_a_dead_letter_queue_a_letter_is_refused(self, harness: QueueHarness) -> None:
        """A set-up without one says so, and the message stays."""
        queue, _ = await harness.queue(dead_letter_queue=None)
        task = a_task("t-1")
        await queue.enqueue(task)
        delivery = await take_one(harness, queue)
        with pytest.raises(NotSupportedError):
            await queue.dead_letter(delivery, dead_letter_message(task, "boom", START, queue.spec.public_name))
        await queue.complete(delivery)


class TestOperators:
    """Looking after a queue."""

    @pytest.mark.second_emulator
    async def test_stats_tell_waiting_running_and_delayed_apart(self, harness: QueueHarness) -> None:
        """Each message is counted once, as what it is."""
        queue, _ = await harness.queue()
        await queue.enqueue_batch([a_task(f"t-{number}") for number in range(3)])
        await queue.enqueue(a_task("later", scheduled_for=harness.clock.now() + LONG))
        await take(harness, queue)

        async def counted() -> bool:
            stats = await queue.stats()
            counts = (stats.approximate_messages, stats.inflight_messages, stats.delayed_messages)
            return counts == (2, 1, 1) and stats.queue_name == queue.spec.public_name

        await harness.eventually(counted)

    async def test_an_empty_queue_has_no_oldest_message(self, harness: QueueHarness) -> None:
        """The age of nothing is unknown, not zero."""
        queue, _ = await harness.queue()
        assert (await queue.stats()).oldest_message_age is None

    async def test_the_oldest_message_counts_from_its_first_enqueue(self, harness: QueueHarness) -> None:
        """A message that was received, released or retried is as old as it is."""
        if not harness.capabilities.exact_counts:
            pytest.skip("the backend does not know")
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("old"))
        await harness.pass_time(2 * SECOND)
        await queue.enqueue(a_task("young"))
        old = await take_one(harness, queue)
        await harness.pass_time(SECOND)
        assert SECOND == (await queue.stats()).oldest_message_age
        await queue.retry(old, a_task("old", retry_count=1), NOW)
        assert 3 * SECOND == (await queue.stats()).oldest_message_age

    async def test_a_purge_deletes_what_is_not_in_flight(self, harness: QueueHarness) -> None:
        """Waiting and delayed messages go; what somebody works on stays his."""
        queue, _ = await harness.queue()
        await queue.enqueue(a_task("running"))
        running = await take_one(harness, queue)
        await queue.enqueue_batch([a_task(f"t-{number}") for number in range(3)])
        await queue.enqueue(a_task("later", scheduled_for=harness.clock.now() + SECOND))
        purged = await queue.purge()
        if harness.capabilities.exact_counts:
            assert 4 == purged
            await queue.complete(running)

        async def empty() -> bool:
            return [] == await queue.receive(10, NOW)

        await harness.pass_time(SECOND)
        await harness.eventually(empty)

    async def test_a_purge_touches_no_other_queue(self, harness: QueueHarness) -> None:
        """Queues of one backend are purged one by one."""
        queue, _ = await harness.queue()
        other, _ = await harness.queue()
        await other.enqueue(a_task("t-1"))
        await queue.purge()
        assert ["t-1"] == ids(await take(harness, other))

    async def test_an_answering_backend_answers_a_ping(self, harness: QueueHarness) -> None:
        """A ping of a healthy backend returns."""
        queue, _ = await harness.queue()
        await queue.ping()

    async def test_queues_of_one_backend_do_not_mix(self, harness: QueueHarness) -> None:
        """What is put into one queue comes out of that queue."""
        first, _ = await harness.queue()
        second, _ = await harness.queue()
        await first.enqueue(a_task("a"))
        await second.enqueue(replace(a_task("b"), queue=second.spec.name))
        assert (["a"], ["b"]) == (ids(await take(harness, first)), ids(await take(harness, second)))
