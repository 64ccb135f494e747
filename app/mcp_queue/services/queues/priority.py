"""Joins several queues into one, each of which holds the tasks of one priority."""

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias, TypeVar

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import QueueError
from mcp_queue.domain.queues import QueueSpec, QueueStats
from mcp_queue.domain.task import Task
from mcp_queue.ports import Queue

Answer = TypeVar("Answer")


class PriorityQueue:
    """Puts each task into the level of its priority; what reads the levels is the consumer."""

    def __init__(self, spec: QueueSpec, levels: Mapping[int, Queue]) -> None:
        """Join ``levels``, which may lie on different backends; a priority without a level goes to level 0."""
        self._spec = spec
        self._levels = dict(sorted(levels.items(), reverse=True))

    @property
    def spec(self) -> QueueSpec:
        """The configuration of the whole."""
        return self._spec

    @property
    def levels(self) -> Mapping[int, Queue]:
        """The queue of each priority, the highest first."""
        return self._levels

    def level(self, priority: int) -> Queue:
        """Return the queue that holds tasks of ``priority``."""
        return self._levels.get(priority, self._levels[0])

    async def enqueue(self, task: Task) -> Accepted:
        """Put ``task`` into its level."""
        return await self.level(task.priority).enqueue(task)

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Put many tasks into their levels, side by side; a level that does not answer fails its own tasks only."""
        groups: dict[str, tuple[Queue, list[int]]] = {}
        for index, task in enumerate(tasks):
            level = self.level(task.priority)
            groups.setdefault(level.spec.name, (level, []))[1].append(index)
        answers = await asyncio.gather(
            *(_enqueue_all(level, [tasks[index] for index in indexes]) for level, indexes in groups.values())
        )
        verdicts: dict[int, Accepted | QueueError] = {}
        for (_, indexes), answer in zip(groups.values(), answers, strict=True):
            verdicts.update(zip(indexes, answer, strict=True))
        return [verdicts[index] for index in range(len(tasks))]

    async def stats(self) -> QueueStats:
        """Add up what lies in the levels."""
        levels = list(self._levels.values())
        stats = await _all(level.stats() for level in levels)
        # A backend counts dead letters by the public name that all levels share, so that each has the whole number.
        dead_letters = {
            (level.spec.backend, level.spec.dead_letter_queue): counted.dead_letters
            for level, counted in zip(levels, stats, strict=True)
        }
        return replace(_sum(self._spec.public_name, stats), dead_letters=_known_sum(dead_letters.values()))

    async def purge(self) -> int | None:
        """Purge every level, also after one has failed."""
        purged = await _all(level.purge() for level in self._levels.values())
        return _known_sum(purged)

    async def ping(self) -> None:
        """Return if every level answers."""
        await _all(level.ping() for level in self._levels.values())


#: A queue that clients put tasks into: one of a backend, or several that act as one.
ProducerQueue: TypeAlias = Queue | PriorityQueue


def leaves(queue: ProducerQueue) -> Collection[Queue]:
    """Return the levels of a priority queue, or the queue itself."""
    return queue.levels.values() if isinstance(queue, PriorityQueue) else (queue,)


async def _enqueue_all(level: Queue, tasks: list[Task]) -> list[Accepted | QueueError]:
    try:
        return await level.enqueue_batch(tasks)
    except QueueError as error:
        return [error] * len(tasks)


async def _all(calls: Iterable[Awaitable[Answer]]) -> list[Answer]:
    """Return all answers; where some calls fail, raise the first failure once every call has ended."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def _sum(name: str, levels: list[QueueStats]) -> QueueStats:
    return QueueStats(
        queue_name=name,
        approximate_messages=sum(level.approximate_messages for level in levels),
        inflight_messages=sum(level.inflight_messages for level in levels),
        delayed_messages=sum(level.delayed_messages for level in levels),
        oldest_message_age=_oldest(levels),
        attributes={
            f"{level.queue_name}.{name}": value for level in levels for name, value in level.attributes.items()
        },
    )


def _oldest(levels: list[QueueStats]) -> timedelta | None:
    """Return the greatest age, unknown where a level that holds messages does not know its own."""
    if any(level.oldest_message_age is None and level.approximate_messages for level in levels):
        return None
    return max((level.oldest_message_age for level in levels if level.oldest_message_age is not None), default=None)


def _known_sum(numbers: Collection[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None
