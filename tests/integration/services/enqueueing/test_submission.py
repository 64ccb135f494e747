"""From a task to a place in its queue: claims before, a memory after."""

from typing import Any

import pytest

from mcp_queue.domain.errors import (
    BackendUnavailableError,
    IdempotencyInProgressError,
    IdempotencyKeyReusedError,
    LedgerDisabledError,
    LedgerUnavailableError,
    QueueError,
    QueueFullError,
    TaskTooLargeError,
)
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.services.enqueueing.submission import (
    Enqueued,
    IdempotencyKey,
    Replayed,
    Submission,
    request_hash,
)
from mcp_queue.services.queues.priority import PriorityQueue
from mcp_queue.testing import InMemoryQueue
from tests.support.clock import HOUR, MINUTE, SECOND, START
from tests.support.ledger import LedgerHarness, submission_with
from tests.support.metrics import CountingMetrics
from tests.support.queues.doubles import SqsLike
from tests.support.tasks import a_task, fifo, standard, task_ids


def a_key(key: str = "k", request_hash: str = "hash") -> IdempotencyKey:
    """Return a key whose client is answered with the id of its task."""
    return IdempotencyKey(key, request_hash, lambda enqueued: enqueued.task.id.encode())


KEY = a_key()


class Counted(CountingMetrics):
    """Counts what queues took."""

    def __init__(self) -> None:
        """Start at nothing."""
        super().__init__()
        self.enqueued_types: list[str] = []

    def enqueued(self, queue: str, task_type: str) -> None:
        """Count it."""
        self.enqueued_types.append(task_type)


@pytest.fixture
def metrics() -> Counted:
    """Return what is counted."""
    return Counted()


@pytest.fixture
def submission(harness: LedgerHarness, metrics: Counted) -> Submission:
    """Return a submission with the ledger."""
    return submission_with(harness.ledger, harness.clock, metrics)


@pytest.fixture
def queue(harness: LedgerHarness) -> SqsLike:
    """Return a standard queue like SQS's."""
    return SqsLike(harness.clock, "tasks", fifo=False)


@pytest.fixture
def orders(harness: LedgerHarness) -> SqsLike:
    """Return a FIFO queue like SQS's."""
    return SqsLike(harness.clock)


def order(task_id: str | None = None, **members: Any) -> Task:
    """Return a task for the FIFO queue with an explicit deduplication id."""
    return a_task(task_id, **{"queue": "orders", "deduplication_id": "d", **members})


async def status_of(harness: LedgerHarness, task: Task) -> TaskStatus | None:
    """Return where the ledger says that a task stands."""
    view = await harness.ledger.tasks.get(task.id)
    return None if view is None else view.status


async def enqueue_first(submission: Submission, queue: SqsLike, task: Task, key: IdempotencyKey = KEY) -> Enqueued:
    """Put a task into a queue under a key, as the first with that key."""
    enqueued = await submission.submit(queue, task, key)
    assert isinstance(enqueued, Enqueued)
    return enqueued


async def test_sent_task_is_found_in_the_ledger(
    harness: LedgerHarness, submission: Submission, queue: SqsLike, metrics: Counted
) -> None:
    """When the client is answered, the ledger knows the task."""
    task = a_task()
    enqueued = await submission.submit(queue, task, None)
    assert Enqueued(task=task, status=TaskStatus.QUEUED, visibility_timeout=MINUTE * 5) == enqueued
    assert TaskStatus.QUEUED == await status_of(harness, task)
    assert ["embedding"] == metrics.enqueued_types


async def test_refused_task_is_not_remembered(
    harness: LedgerHarness, submission: Submission, queue: SqsLike, metrics: Counted
) -> None:
    """What no queue has is in no ledger."""
    queue.answers = [QueueFullError(), QueueFullError()]
    task = a_task()
    with pytest.raises(QueueFullError):
        await submission.submit(queue, task, None)
    with pytest.raises(QueueFullError):
        await submission.submit(queue, task, KEY)
    assert (None, []) == (await status_of(harness, task), metrics.enqueued_types)


async def test_ledger_that_is_down_stops_no_task(
    harness: LedgerHarness, submission: Submission, queue: SqsLike
) -> None:
    """It observes: only what needs it is refused."""
    harness.ledger._database.set_away("the test says so")
    task = a_task()
    await submission.submit(queue, task, None)
    with pytest.raises(LedgerUnavailableError):
        await submission.submit(queue, a_task(), KEY)
    assert [task.id] == await queue.waiting()
    assert 1 == harness.metrics.backlog


async def test_without_a_ledger_only_a_key_is_refused(harness: LedgerHarness, metrics: Counted) -> None:
    """Long delays are the queue's own business then."""
    bare = Submission(metrics)
    queue = SqsLike(harness.clock)
    await bare.submit(queue, order(scheduled_for=START + HOUR), None)
    with pytest.raises(LedgerDisabledError):
        await bare.submit(queue, a_task(), KEY)
    verdicts = await bare.submit_all(queue, [(a_task(), KEY), (a_task(), None)])
    assert [LedgerDisabledError, Enqueued] == [type(verdict) for verdict in verdicts]
    assert 2 == len(queue.sends) == len(metrics.enqueued_types)


async def test_same_key_and_request_give_the_first_answer(submission: Submission, queue: SqsLike) -> None:
    """However often the client asks, one task is sent."""
    first = a_task()
    await enqueue_first(submission, queue, first)
    assert Replayed(first.id.encode()) == await submission.submit(queue, a_task(), KEY)
    assert [first.id] == task_ids(queue.sends)


async def test_same_key_with_another_request_is_a_mistake(submission: Submission, queue: SqsLike) -> None:
    """A key belongs to the first request with it."""
    await enqueue_first(submission, queue, a_task())
    with pytest.raises(IdempotencyKeyReusedError):
        await submission.submit(queue, a_task(), a_key(request_hash="other"))


async def test_request_under_way_says_when_to_come_back(submission: Submission, queue: SqsLike) -> None:
    """A claim is held for 30 s, while nobody knows whether the queue has the task."""
    queue.answers = [BackendUnavailableError()]
    with pytest.raises(BackendUnavailableError):
        await submission.submit(queue, a_task(), KEY)
    with pytest.raises(IdempotencyInProgressError) as caught:
        await submission.submit(queue, a_task(), KEY)
    assert SECOND * 30 == caught.value.retry_after


async def test_refused_task_frees_its_key_at_once(submission: Submission, queue: SqsLike) -> None:
    """Only what was accepted is remembered: the next request begins anew, even another one."""
    queue.answers = [QueueFullError()]
    with pytest.raises(QueueFullError):
        await submission.submit(queue, a_task(), KEY)
    second = a_task()
    enqueued = await enqueue_first(submission, queue, second, a_key(request_hash="other"))
    assert second.id == enqueued.task.id


async def test_unconfirmed_send_is_repeated_under_the_same_id(
    harness: LedgerHarness, submission: Submission, queue: SqsLike
) -> None:
    """Nobody knows whether the queue has it: after 30 s the next request sends the same task again."""
    queue.answers = [BackendUnavailableError()]
    first = a_task()
    with pytest.raises(BackendUnavailableError):
        await submission.submit(queue, first, KEY)
    with pytest.raises(IdempotencyInProgressError):
        await submission.submit(queue, a_task(), KEY)
    await harness.clock.advance(SECOND * 30)
    taken_over = await enqueue_first(submission, queue, a_task())
    assert first.id == taken_over.task.id
    assert [first.id, first.id] == task_ids(queue.sends)


async def test_refusal_of_a_task_that_may_be_in_the_queue_frees_nothing(
    harness: LedgerHarness, submission: Submission, queue: SqsLike
) -> None:
    """Who took a claim over knows nothing of the send before its own: a fresh id would make a second task."""
    queue.answers = [BackendUnavailableError(), QueueFullError()]
    first = a_task()
    with pytest.raises(BackendUnavailableError):
        await submission.submit(queue, first, KEY)
    await harness.clock.advance(SECOND * 30)
    with pytest.raises(QueueFullError):
        await submission.submit(queue, a_task(), KEY)
    await harness.clock.advance(SECOND * 30)
    assert first.id == (await enqueue_first(submission, queue, a_task())).task.id


async def test_second_send_of_a_task_is_no_duplicate_of_another(
    harness: LedgerHarness, submission: Submission, metrics: Counted
) -> None:
    """An embedded FIFO queue that already has the very task takes it, and the ledger learns of it."""
    queue = InMemoryQueue(fifo(), clock=harness.clock, serializer=JsonTaskSerializer())
    first = a_task(queue="orders")
    await queue.enqueue(first)
    (outcome,) = await submission.submit_all(queue, [(first, None)])
    assert isinstance(outcome, Enqueued)
    assert (False, first.id) == (outcome.deduplicated, outcome.task.id)
    assert TaskStatus.QUEUED == await status_of(harness, first)


async def test_duplicate_is_not_remembered_as_a_task_of_its_own(
    harness: LedgerHarness, submission: Submission, metrics: Counted
) -> None:
    """The embedded queue knows the first task, which the answer names; the second never was."""
    queue = InMemoryQueue(fifo(), clock=harness.clock, serializer=JsonTaskSerializer())
    first, second, third = (order() for _ in range(3))
    await submission.submit(queue, first, None)
    for task, key in ((second, None), (third, KEY)):
        outcome = await submission.submit(queue, task, key)
        assert isinstance(outcome, Enqueued)
        assert (True, first.id) == (outcome.deduplicated, outcome.task.id)
        assert await status_of(harness, task) is None
    assert 1 == len(metrics.enqueued_types)


async def test_each_of_a_batch_has_its_own_key(submission: Submission, queue: SqsLike) -> None:
    """New, replayed, reused, refused and without a key stand side by side, in the order given."""
    await enqueue_first(submission, queue, a_task())
    queue.answers = [None, QueueFullError()]
    tasks = [a_task() for _ in range(5)]
    keys = [a_key("new"), KEY, a_key(request_hash="other"), a_key("full"), None]
    verdicts = await submission.submit_all(queue, list(zip(tasks, keys, strict=True)))
    expected = [Enqueued, Replayed, IdempotencyKeyReusedError, QueueFullError, Enqueued]
    assert expected == [type(verdict) for verdict in verdicts]
    assert Replayed(tasks[0].id.encode()) == await submission.submit(queue, a_task(), keys[0])


async def test_one_key_twice_in_a_batch_sends_one_task(submission: Submission, queue: SqsLike) -> None:
    """The second finds the first under way."""
    verdicts = await submission.submit_all(queue, [(a_task(), KEY), (a_task(), KEY)])
    assert [Enqueued, IdempotencyInProgressError] == [type(verdict) for verdict in verdicts]
    assert 1 == len(queue.sends)


async def test_keys_of_a_batch_need_the_ledger_and_the_others_do_not(
    harness: LedgerHarness, submission: Submission, queue: SqsLike
) -> None:
    """A ledger that is down fails those that ask it."""
    harness.ledger._database.set_away("the test says so")
    verdicts = await submission.submit_all(queue, [(a_task(), KEY), (a_task(), None)])
    assert [LedgerUnavailableError, Enqueued] == [type(verdict) for verdict in verdicts]


async def test_queue_that_does_not_answer_fails_every_task_of_a_batch(
    harness: LedgerHarness, submission: Submission
) -> None:
    """Each verdict is the same error, and the claims stay."""

    class Silent(SqsLike):
        async def enqueue_batch(self, tasks: object) -> Any:
            raise BackendUnavailableError

    queue = Silent(harness.clock, "tasks", fifo=False)
    verdicts = await submission.submit_all(queue, [(a_task(), KEY), (a_task(), None)])
    assert [BackendUnavailableError] * 2 == [type(verdict) for verdict in verdicts]
    with pytest.raises(IdempotencyInProgressError):
        await submission.submit(queue, a_task(), KEY)


async def test_explicit_deduplication_id_is_claimed_before_the_send(submission: Submission, orders: SqsLike) -> None:
    """SQS would take the second, say yes and drop it: its client learns of the first instead."""
    first, second = order(), order()
    await submission.submit(orders, first, None)
    outcome = await submission.submit(orders, second, None)
    assert isinstance(outcome, Enqueued)
    assert (True, first.id) == (outcome.deduplicated, outcome.task.id)
    assert [first.id] == task_ids(orders.sends)


async def test_a_deduplication_id_counts_within_its_group_where_the_queue_says_so(
    submission: Submission, orders: SqsLike
) -> None:
    """SQS does so with the scope messageGroup, and would run both."""
    orders.by_group = True
    tasks = [order(group="a"), order(group="b"), order(group="a")]
    outcomes = [await submission.submit(orders, task, None) for task in tasks]
    deduplicated = [outcome.deduplicated for outcome in outcomes if isinstance(outcome, Enqueued)]
    assert [False, False, True] == deduplicated
    assert [tasks[0].id, tasks[1].id] == task_ids(orders.sends)


async def test_deduplication_ends_after_five_minutes(
    harness: LedgerHarness, submission: Submission, orders: SqsLike
) -> None:
    """As at SQS."""
    await submission.submit(orders, order(), None)
    await harness.clock.advance(MINUTE * 5)
    second = order()
    outcome = await submission.submit(orders, second, None)
    assert isinstance(outcome, Enqueued)
    assert (False, second.id) == (outcome.deduplicated, outcome.task.id)


async def test_unconfirmed_deduplication_id_is_taken_over_under_the_same_task(
    harness: LedgerHarness, submission: Submission, orders: SqsLike
) -> None:
    """For 30 s nobody can say; then the same task is sent again, and SQS drops what it already has."""
    orders.answers = [BackendUnavailableError()]
    first = order()
    with pytest.raises(BackendUnavailableError):
        await submission.submit(orders, first, None)
    with pytest.raises(IdempotencyInProgressError):
        await submission.submit(orders, order(), None)
    await harness.clock.advance(SECOND * 30)
    outcome = await submission.submit(orders, order(), None)
    assert isinstance(outcome, Enqueued)
    assert (False, first.id) == (outcome.deduplicated, outcome.task.id)


async def test_refused_task_frees_its_deduplication_id(submission: Submission, orders: SqsLike) -> None:
    """A definite no is no task that another could be a duplicate of."""
    orders.answers = [QueueFullError()]
    with pytest.raises(QueueFullError):
        await submission.submit(orders, order(), None)
    second = order()
    outcome = await submission.submit(orders, second, None)
    assert isinstance(outcome, Enqueued)
    assert second.id == outcome.task.id


async def test_sqs_alone_deduplicates_while_the_ledger_is_down(
    harness: LedgerHarness, submission: Submission, orders: SqsLike
) -> None:
    """Enqueueing goes on; whether the second was dropped, nobody says."""
    harness.ledger._database.set_away("the test says so")
    outcomes = [await submission.submit(orders, order(), None) for _ in range(2)]
    assert [False, False] == [outcome.deduplicated for outcome in outcomes if isinstance(outcome, Enqueued)]
    assert 1 == len(await orders.waiting())


async def test_duplicate_under_a_key_is_remembered_as_such(submission: Submission, orders: SqsLike) -> None:
    """The key is confirmed with the answer that names the first task."""
    first = order()
    await submission.submit(orders, first, None)
    enqueued = await enqueue_first(submission, orders, order())
    assert (True, first.id) == (enqueued.deduplicated, enqueued.task.id)
    assert Replayed(first.id.encode()) == await submission.submit(orders, order(), KEY)


async def test_deduplication_id_under_way_frees_the_key(submission: Submission, orders: SqsLike) -> None:
    """The request was refused, so that the next may come with the same key as soon as the id is known."""
    orders.answers = [BackendUnavailableError()]
    with pytest.raises(BackendUnavailableError):
        await submission.submit(orders, order(), None)
    for _ in range(2):
        with pytest.raises(IdempotencyInProgressError) as caught:
            await submission.submit(orders, order(), KEY)
        assert SECOND * 30 == caught.value.retry_after


@pytest.mark.parametrize(("standard_queue", "delay", "held"), [(True, 901, True), (True, 900, False), (False, 1, True)])
async def test_delay_that_the_queue_cannot_hold_waits_in_the_ledger(
    harness: LedgerHarness, submission: Submission, metrics: Counted, *, standard_queue: bool, delay: int, held: bool
) -> None:
    """Beyond 900 s on a standard queue, and any on FIFO. A held task counts as enqueued when its queue has it."""
    queue = SqsLike(harness.clock, "tasks", fifo=not standard_queue)
    task = a_task(scheduled_for=START + SECOND * delay)
    outcome = await submission.submit(queue, task, None)
    assert isinstance(outcome, Enqueued)
    assert (TaskStatus.SCHEDULED, TaskStatus.SCHEDULED) == (outcome.status, await status_of(harness, task))
    assert ([], []) if held else ([task], ["embedding"]) == (queue.sends, metrics.enqueued_types)
    await harness.clock.advance(SECOND * delay)
    assert [task.id] * held == task_ids(await harness.ledger.held.due(10, MINUTE))


async def test_level_of_a_priority_queue_decides_what_it_holds(harness: LedgerHarness, submission: Submission) -> None:
    """Levels may lie on different backends."""
    low = SqsLike(harness.clock, "low", fifo=False)
    high = InMemoryQueue(standard("high"), clock=harness.clock, serializer=JsonTaskSerializer())
    queue = PriorityQueue(standard("work"), {0: low, 3: high})
    tasks = [a_task(queue="work", priority=priority, scheduled_for=START + HOUR) for priority in (0, 3)]
    verdicts = await submission.submit_all(queue, [(task, None) for task in tasks])
    assert [Enqueued, Enqueued] == [type(verdict) for verdict in verdicts]
    assert ([], 1) == (low.sends, (await high.stats()).delayed_messages)


async def test_task_that_the_ledger_must_hold_is_refused_while_it_is_down(
    harness: LedgerHarness, submission: Submission, orders: SqsLike
) -> None:
    """A schedule is committed before the answer, or refused."""
    harness.ledger._database.set_away("the test says so")
    with pytest.raises(LedgerUnavailableError):
        await submission.submit(orders, order(scheduled_for=START + HOUR), None)


async def test_held_task_that_its_queue_could_never_take_is_refused_now(
    harness: LedgerHarness, submission: Submission
) -> None:
    """Better than when it is due; the others of its batch are held."""
    queue = SqsLike(harness.clock, max_task_bytes=1000)
    large = order("large", scheduled_for=START + HOUR, payload="x" * 1000, deduplication_id=None)
    small = order("small", scheduled_for=START + HOUR, deduplication_id=None)
    verdicts = await submission.submit_all(queue, [(large, None), (small, None)])
    assert [TaskTooLargeError, Enqueued] == [type(verdict) for verdict in verdicts]
    assert await status_of(harness, large) is None


async def test_duplicate_of_a_held_task_is_recognised(
    harness: LedgerHarness, submission: Submission, orders: SqsLike
) -> None:
    """Delayed tasks included: the id is claimed when the ledger has the task."""
    first = order(scheduled_for=START + HOUR)
    await submission.submit(orders, first, None)
    outcome = await submission.submit(orders, order(), None)
    assert isinstance(outcome, Enqueued)
    assert (True, first.id) == (outcome.deduplicated, outcome.task.id)


async def test_error_of_a_lone_task_is_raised(submission: Submission, orders: SqsLike) -> None:
    """A caller with one task gets no list of verdicts."""
    orders.answers = [QueueError("odd")]
    with pytest.raises(QueueError, match="odd"):
        await submission.submit(orders, order(), None)


def test_request_is_known_by_its_members_whatever_their_order() -> None:
    """Neither the order of members nor the key itself makes another request; anything else does."""
    first = request_hash({"type": "a", "payload": {"x": 1, "y": [2]}, "idempotency_key": "k"})
    assert first == request_hash({"payload": {"y": [2], "x": 1}, "type": "a"})
    assert first != request_hash({"type": "a", "payload": {"x": 1, "y": [3]}})
    assert request_hash([1]) != request_hash([2])
