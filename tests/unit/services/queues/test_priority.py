"""Several queues that act as one."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import BackendUnavailableError, QueueError, QueueFullError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec, QueueStats
from mcp_queue.domain.task import Task
from mcp_queue.services.queues.priority import PriorityQueue
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.clock import NOW, SECOND, START

SPEC = QueueSpec(name="work", kind=QueueKind.PRIORITY, backend=Backend.MEMORY)
LEVELS = (0, 1, 3)


class Level(InMemoryQueue):
    """A queue whose backend can go away, and whose figures can be set."""

    def __init__(
        self, level: int, clock: FakeClock, max_depth: int | None = None, backend: Backend = Backend.MEMORY
    ) -> None:
        """Be the queue of ``level``."""
        name = f"work-p{level}"
        spec = QueueSpec(
            name=name,
            public_name="work",
            kind=QueueKind.STANDARD,
            backend=backend,
            max_depth=max_depth,
            dead_letter_queue="dlq",
        )
        super().__init__(spec, clock=clock, serializer=JsonTaskSerializer())
        self.away = False
        self.reported: QueueStats | None = None

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Put ``tasks`` in."""
        self._answer()
        return await super().enqueue_batch(tasks)

    async def stats(self) -> QueueStats:
        """Return what is reported, else what is true."""
        self._answer()
        return self.reported or await super().stats()

    async def purge(self) -> int:
        """Empty it."""
        self._answer()
        return await super().purge()

    async def ping(self) -> None:
        """Answer."""
        self._answer()

    def _answer(self) -> None:
        if self.away:
            raise BackendUnavailableError


@pytest.fixture
def levels() -> dict[int, Level]:
    """Return three levels."""
    clock = FakeClock(START)
    return {level: Level(level, clock) for level in LEVELS}


@pytest.fixture
def queue(levels: dict[int, Level]) -> PriorityQueue:
    """Return the queue over ``levels``."""
    return PriorityQueue(SPEC, levels)


def task(priority: int, task_id: str = "t") -> Task:
    """Return a task of ``priority``."""
    return Task(id=task_id, type="echo", queue="work", created_at=START, priority=priority)


async def ids(level: Level) -> list[str]:
    """Return the ids of the tasks in ``level``."""
    deliveries = await level.receive(10, NOW)
    return [delivery.task.id for delivery in deliveries if delivery.task]


@pytest.mark.parametrize(("priority", "expected"), [(3, 3), (1, 1), (0, 0), (2, 0), (7, 0)])
async def test_task_goes_to_the_level_of_its_priority(
    queue: PriorityQueue, levels: dict[int, Level], priority: int, expected: int
) -> None:
    """A priority that has no level goes to level 0."""
    await queue.enqueue(task(priority))
    assert ["t"] == await ids(levels[expected])


def test_levels_come_highest_first(queue: PriorityQueue) -> None:
    """Consumers look at them in this order."""
    assert [3, 1, 0] == list(queue.levels)


async def test_batch_is_shared_out_in_order(queue: PriorityQueue, levels: dict[int, Level]) -> None:
    """Each level gets its tasks in the order sent, and each task its own verdict."""
    tasks = [task(priority, f"t{index}") for index, priority in enumerate((3, 0, 2, 3, 1))]
    verdicts = await queue.enqueue_batch(tasks)
    assert 5 == len([verdict for verdict in verdicts if isinstance(verdict, Accepted)])
    assert [["t0", "t3"], ["t4"], ["t1", "t2"]] == [await ids(levels[level]) for level in (3, 1, 0)]


async def test_level_that_is_away_fails_its_own_tasks(queue: PriorityQueue, levels: dict[int, Level]) -> None:
    """The others are accepted, and every verdict stands at its task's place."""
    levels[3].away = True
    verdicts = await queue.enqueue_batch([task(3), task(0), task(3)])
    assert [BackendUnavailableError, Accepted, BackendUnavailableError] == [type(verdict) for verdict in verdicts]


async def test_full_level_refuses_its_own_tasks() -> None:
    """Each level has a depth of its own."""
    clock = FakeClock(START)
    queue = PriorityQueue(SPEC, {0: Level(0, clock, max_depth=1), 3: Level(3, clock)})
    verdicts = await queue.enqueue_batch([task(0), task(0), task(3)])
    assert [Accepted, QueueFullError, Accepted] == [type(verdict) for verdict in verdicts]


async def test_counts_are_summed(queue: PriorityQueue, levels: dict[int, Level]) -> None:
    """The whole counts what its levels hold, and is as old as the oldest of it."""
    levels[0].reported = _stats(1, 2, 3, age=5 * SECOND, dead_letters=7, attributes={"a": "1"})
    levels[3].reported = _stats(10, 20, 30, age=9 * SECOND, dead_letters=7)
    stats = await queue.stats()
    assert ("work", 11, 22, 33) == (
        stats.queue_name,
        stats.approximate_messages,
        stats.inflight_messages,
        stats.delayed_messages,
    )
    assert (9 * SECOND, {"level.a": "1"}) == (stats.oldest_message_age, stats.attributes)


async def test_dead_letters_are_counted_once(queue: PriorityQueue, levels: dict[int, Level]) -> None:
    """Levels on one backend that share a dead-letter queue each know the number of all."""
    for level in levels.values():
        level.reported = _stats(dead_letters=7)
    assert 7 == (await queue.stats()).dead_letters


async def test_dead_letters_of_several_backends_are_summed() -> None:
    """Each backend has a dead-letter queue of its own; where one does not know, nobody does."""
    clock = FakeClock(START)
    levels = {0: Level(0, clock), 3: Level(3, clock, backend=Backend.SQS)}
    levels[0].reported, levels[3].reported = _stats(dead_letters=7), _stats(dead_letters=1)
    assert 8 == (await PriorityQueue(SPEC, levels).stats()).dead_letters
    levels[3].reported = _stats()
    assert (await PriorityQueue(SPEC, levels).stats()).dead_letters is None


async def test_age_is_unknown_where_a_level_with_messages_does_not_know_it(
    queue: PriorityQueue, levels: dict[int, Level]
) -> None:
    """An age that leaves a level out would be a guess."""
    levels[0].reported = _stats(1, age=5 * SECOND)
    levels[3].reported = _stats(0)
    assert 5 * SECOND == (await queue.stats()).oldest_message_age
    levels[3].reported = _stats(1)
    assert (await queue.stats()).oldest_message_age is None


async def test_purge_empties_every_level(queue: PriorityQueue, levels: dict[int, Level]) -> None:
    """The number is that of all levels."""
    await queue.enqueue_batch([task(priority) for priority in (0, 1, 3, 3)])
    assert 4 == await queue.purge()


async def test_purge_goes_on_after_a_level_that_is_away(queue: PriorityQueue, levels: dict[int, Level]) -> None:
    """The failure is told, but the other levels are empty."""
    await queue.enqueue_batch([task(0), task(3)])
    levels[3].away = True
    with pytest.raises(BackendUnavailableError):
        await queue.purge()
    assert 0 == (await levels[0].stats()).approximate_messages


async def test_queue_answers_only_if_every_level_does(queue: PriorityQueue, levels: dict[int, Level]) -> None:
    """A whole with a missing part is not well."""
    await queue.ping()
    levels[1].away = True
    with pytest.raises(BackendUnavailableError):
        await queue.ping()


def _stats(
    waiting: int = 0,
    in_flight: int = 0,
    delayed: int = 0,
    *,
    age: timedelta | None = None,
    dead_letters: int | None = None,
    attributes: dict[str, str] | None = None,
) -> QueueStats:
    return QueueStats(
        queue_name="level",
        approximate_messages=waiting,
        inflight_messages=in_flight,
        delayed_messages=delayed,
        oldest_message_age=age,
        dead_letters=dead_letters,
        attributes=attributes or {},
    )
