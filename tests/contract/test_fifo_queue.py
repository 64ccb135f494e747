"""What a FIFO queue promises, on every backend."""

import asyncio
from datetime import timedelta

import pytest

from mcp_queue.domain.delivery import Accepted, Delivery
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.queues import DEDUPLICATION_WINDOW, RECEIVES_HEADROOM, QueueKind
from mcp_queue.ports import Queue
from tests.support.clock import NOW, SECOND, START
from tests.support.queues.harness import LEASE, QueueHarness, ids, take, take_one
from tests.support.tasks import a_task

LONG = timedelta(seconds=10)


async def fifo(harness: QueueHarness, **overrides: object) -> tuple[Queue, Queue]:
    """Return a FIFO queue and its dead-letter queue."""
    return await harness.queue(kind=QueueKind.FIFO, **overrides)


async def drain(harness: QueueHarness, queue: Queue, number: int) -> list[Delivery]:
    """Receive and complete ``number`` messages, one after the other."""
    drained = []
    for _ in range(number):
        delivery = await take_one(harness, queue)
        await queue.complete(delivery)
        drained.append(delivery)
    return drained


class TestOrder:
    """Groups in order."""

    @pytest.mark.second_emulator
    async def test_a_group_comes_out_in_the_order_it_went_in(self, harness: QueueHarness) -> None:
        """The order of acceptance is the order of delivery."""
        queue, _ = await fifo(harness)
        names = [f"t-{number}" for number in range(12)]
        await queue.enqueue_batch([a_task(name, group="g") for name in names])
        assert names == ids(await drain(harness, queue, len(names)))

    async def test_one_task_after_another_keeps_its_order(self, harness: QueueHarness) -> None:
        """Tasks enqueued by single calls line up like those of a batch."""
        queue, _ = await fifo(harness)
        for name in ("a", "b", "c"):
            await queue.enqueue(a_task(name, group="g"))
        assert ["a", "b", "c"] == ids(await drain(harness, queue, 3))

    async def test_the_message_of_a_group_is_known_as_such(self, harness: QueueHarness) -> None:
        """A delivery names its group."""
        queue, _ = await fifo(harness)
        await queue.enqueue(a_task("t-1", group="g"))
        assert "g" == (await take_one(harness, queue)).group

    @pytest.mark.second_emulator
    async def test_a_task_without_a_group_joins_the_queues_own(self, harness: QueueHarness) -> None:
        """``message_group_id`` is where tasks go that name no group."""
        queue, _ = await fifo(harness, message_group_id="everybody")
        await queue.enqueue(a_task("t-1"))
        assert "everybody" == (await take_one(harness, queue)).group

    @pytest.mark.second_emulator
    async def test_an_earlier_receive_that_holds_a_head_holds_its_group(self, harness: QueueHarness) -> None:
        """While a message of a group is in flight the next receive gets none of that group."""
        queue, _ = await fifo(harness)
        await queue.enqueue_batch([a_task(name, group="g") for name in ("a", "b")])
        head = await take_one(harness, queue)
        assert [] == await queue.receive(10, NOW)
        await queue.complete(head)
        assert ["b"] == ids(await take(harness, queue))

    async def test_a_waiting_receive_gets_the_next_of_a_group(self, harness: QueueHarness) -> None:
        """A long poll ends when the head of a group is completed."""
        queue, _ = await fifo(harness)
        await queue.enqueue_batch([a_task(name, group="g") for name in ("a", "b")])
        head = await take_one(harness, queue)
        poll = asyncio.create_task(queue.receive(10, LONG))
        await asyncio.sleep(0)
        await queue.complete(head)
        assert ["b"] == ids(await poll)

    async def test_groups_do_not_wait_for_each_other(self, harness: QueueHarness) -> None:
        """A head in flight holds up its own group only."""
        queue, _ = await fifo(harness)
        await queue.enqueue_batch([a_task("a-1", group="a"), a_task("b-1", group="b")])
        assert ["a-1", "b-1"] == sorted(ids(await take(harness, queue, 2)))

    async def test_a_head_whose_lease_ends_comes_again_before_its_followers(self, harness: QueueHarness) -> None:
        """A consumer that dies does not change the order."""
        queue, _ = await fifo(harness)
        await queue.enqueue_batch([a_task(name, group="g") for name in ("a", "b")])
        await take_one(harness, queue)
        await harness.pass_time(LEASE)
        assert ["a", "b"] == ids(await drain(harness, queue, 2))

    async def test_a_released_head_comes_again_before_its_followers(self, harness: QueueHarness) -> None:
        """Giving back does not change the order."""
        queue, _ = await fifo(harness)
        await queue.enqueue_batch([a_task(name, group="g") for name in ("a", "b")])
        await queue.release(await take_one(harness, queue))
        assert ["a", "b"] == ids(await drain(harness, queue, 2))

    async def test_a_head_that_waits_for_its_retry_holds_its_group(self, harness: QueueHarness) -> None:
        """Followers wait as long as the head does, other groups do not."""
        queue, _ = await fifo(harness)
        head = a_task("a", group="g")
        await queue.enqueue_batch([head, a_task("b", group="g")])
        await queue.retry(await take_one(harness, queue), head.next_attempt(), 2 * SECOND)
        await queue.enqueue(a_task("c", group="other"))
        assert ["c"] == ids(await drain(harness, queue, 1))
        assert [] == await queue.receive(10, NOW)
        await harness.pass_time(2 * SECOND)
        assert ["a", "b"] == ids(await drain(harness, queue, 2))

    async def test_a_dead_head_lets_its_group_go_on(self, harness: QueueHarness) -> None:
        """The next of the group follows a head that was dead-lettered."""
        queue, dead_letters = await fifo(harness)
        head = a_task("a", group="g")
        await queue.enqueue_batch([head, a_task("b", group="g")])
        dead_letter = dead_letter_message(head, "boom", START, queue.spec.public_name)
        await queue.dead_letter(await take_one(harness, queue), dead_letter)
        assert ["b"] == ids(await take(harness, queue))
        dead = await take_one(harness, dead_letters)
        assert ("a", "g") == (ids([dead])[0], dead.group)

    async def test_a_head_received_too_often_lets_its_group_go_on(self, harness: QueueHarness) -> None:
        """A head that moves to the dead-letter queue by itself frees its followers."""
        queue, dead_letters = await fifo(harness, max_receive_count=1 - RECEIVES_HEADROOM)
        await queue.enqueue_batch([a_task(name, group="g") for name in ("a", "b")])
        for _ in range(queue.spec.backend_receives):
            await take_one(harness, queue)
            await harness.pass_time(LEASE)
        assert ["b"] == ids(await take(harness, queue))
        assert ["a"] == ids(await take(harness, dead_letters))

    async def test_dead_letters_of_a_group_keep_their_order(self, harness: QueueHarness) -> None:
        """A FIFO queue's dead-letter queue is one too."""
        queue, dead_letters = await fifo(harness)
        names = ["a", "b", "c"]
        await queue.enqueue_batch([a_task(name, group="g") for name in names])
        for name in names:
            dead_letter = dead_letter_message(a_task(name, group="g"), "boom", START, queue.spec.public_name)
            await queue.dead_letter(await take_one(harness, queue), dead_letter)
        assert names == ids(await drain(harness, dead_letters, 3))

    async def test_a_group_goes_on_after_a_purge(self, harness: QueueHarness) -> None:
        """What is enqueued after a purge waits for no one but a message that was in flight."""
        if not harness.capabilities.exact_counts:
            pytest.skip("the backend may drop what comes shortly after a purge")
        queue, _ = await fifo(harness)
        await queue.enqueue_batch([a_task(name, group="busy") for name in ("running", "purged")])
        running = await take_one(harness, queue)
        await queue.enqueue(a_task("purged too", group="other"))
        await queue.purge()
        await queue.enqueue_batch([a_task("busy", group="busy"), a_task("other", group="other")])
        assert ["other"] == ids(await queue.receive(10, NOW))
        await queue.complete(running)
        assert ["busy"] == ids(await queue.receive(10, NOW))


class TestDelay:
    """Delayed tasks of a group."""

    async def test_a_delayed_task_takes_its_place_when_it_is_due(self, harness: QueueHarness) -> None:
        """Before that it blocks nobody; then it stands before what is accepted later."""
        if not harness.capabilities.any_delay:
            pytest.skip("the backend does not delay single messages of a FIFO queue")
        queue, _ = await fifo(harness)
        await queue.enqueue(a_task("delayed", group="g", scheduled_for=harness.clock.now() + 5 * SECOND))
        await queue.enqueue(a_task("early", group="g"))
        await harness.pass_time(5 * SECOND)
        await queue.enqueue(a_task("late", group="g"))
        assert ["early", "delayed", "late"] == ids(await drain(harness, queue, 3))

    async def test_a_delayed_task_does_not_hold_its_group(self, harness: QueueHarness) -> None:
        """A group goes on while one of its tasks waits for its time."""
        if not harness.capabilities.any_delay:
            pytest.skip("the backend does not delay single messages of a FIFO queue")
        queue, _ = await fifo(harness)
        await queue.enqueue(a_task("delayed", group="g", scheduled_for=harness.clock.now() + 5 * SECOND))
        await queue.enqueue(a_task("early", group="g"))
        assert ["early"] == ids(await drain(harness, queue, 1))
        assert [] == await queue.receive(1, NOW)
        await harness.pass_time(5 * SECOND)
        assert ["delayed"] == ids(await drain(harness, queue, 1))

    async def test_a_delayed_task_that_comes_due_waits_for_the_head(self, harness: QueueHarness) -> None:
        """One message of a group is in flight at a time, also when another comes due."""
        if not harness.capabilities.any_delay:
            pytest.skip("the backend does not delay single messages of a FIFO queue")
        queue, _ = await fifo(harness)
        await queue.enqueue(a_task("delayed", group="g", scheduled_for=harness.clock.now() + SECOND))
        await queue.enqueue(a_task("head", group="g"))
        head = await take_one(harness, queue)
        await harness.pass_time(SECOND)
        assert [] == await queue.receive(1, NOW)
        await queue.complete(head)
        assert ["delayed"] == ids(await take(harness, queue))


class TestDeduplication:
    """The same task twice."""

    async def test_a_repeated_deduplication_id_is_swallowed(self, harness: QueueHarness) -> None:
        """The second task is accepted as a copy of the first, which is delivered once."""
        queue, _ = await fifo(harness)
        await queue.enqueue(a_task("a", group="g", deduplication_id="same"))
        verdict = await queue.enqueue(a_task("b", group="g", deduplication_id="same"))
        if harness.capabilities.names_first_copy:
            assert "a" == verdict.duplicate_of
        assert ["a"] == ids(await drain(harness, queue, 1))
        assert [] == await queue.receive(1, NOW)

    async def test_a_repeated_task_is_swallowed(self, harness: QueueHarness) -> None:
        """Without a deduplication id the task's own id counts."""
        queue, _ = await fifo(harness)
        await queue.enqueue(a_task("a", group="g"))
        await queue.enqueue(a_task("a", group="g"))
        assert ["a"] == ids(await drain(harness, queue, 1))
        assert [] == await queue.receive(1, NOW)

    async def test_copies_within_a_batch_are_swallowed(self, harness: QueueHarness) -> None:
        """A batch is no way around deduplication."""
        queue, _ = await fifo(harness)
        verdicts = await queue.enqueue_batch([a_task("a", group="g"), a_task("b", group="g"), a_task("a")])
        assert [Accepted] * 3 == [type(verdict) for verdict in verdicts]
        assert ["a", "b"] == ids(await drain(harness, queue, 2))
        assert [] == await queue.receive(1, NOW)

    async def test_a_copy_is_known_after_the_first_is_gone(self, harness: QueueHarness) -> None:
        """Completing a task does not make room for its copy."""
        queue, _ = await fifo(harness)
        await queue.enqueue(a_task("a", group="g"))
        await drain(harness, queue, 1)
        await queue.enqueue(a_task("a", group="g"))
        assert [] == await queue.receive(1, NOW)

    async def test_a_copy_of_a_delayed_task_is_known(self, harness: QueueHarness) -> None:
        """A task that waits for its time is accepted, and so its copy is swallowed."""
        if not harness.capabilities.any_delay:
            pytest.skip("the backend does not delay single messages of a FIFO queue")
        queue, _ = await fifo(harness)
        await queue.enqueue(a_task("a", group="g", scheduled_for=harness.clock.now() + SECOND))
        await queue.enqueue(a_task("a", group="g"))
        assert [] == await queue.receive(1, NOW)
        await harness.pass_time(SECOND)
        assert ["a"] == ids(await drain(harness, queue, 1))

    async def test_copies_are_forgotten_after_five_minutes(self, harness: QueueHarness) -> None:
        """Later the same task is a new one."""
        if not harness.capabilities.fake_time:
            pytest.skip("needs minutes to pass")
        queue, _ = await fifo(harness)
        await queue.enqueue(a_task("a", group="g"))
        await harness.pass_time(DEDUPLICATION_WINDOW)
        assert (await queue.enqueue(a_task("a", group="g"))).duplicate_of is None
        assert ["a", "a"] == ids(await drain(harness, queue, 2))

    async def test_queues_deduplicate_for_themselves(self, harness: QueueHarness) -> None:
        """The same id in another queue is another task."""
        first, _ = await fifo(harness)
        second, _ = await fifo(harness)
        await first.enqueue(a_task("a", group="g"))
        await second.enqueue(a_task("a", group="g"))
        assert ["a"] == ids(await take(harness, second))
