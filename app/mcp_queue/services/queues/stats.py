"""Counts the messages and dead letters of a queue, by its backend and the ledger."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.domain.queues import QueueStats
from mcp_queue.ports import Clock, TaskStore
from mcp_queue.services.queues.priority import ProducerQueue, leaves

#: Returns how many dead letters of a queue wait, given how many are known to lie in its dead-letter queue.
CountDeadLetters = Callable[[str, int | None], Awaitable[int | None]]


class QueueCounts:
    """Counts queues by the name that clients use."""

    def __init__(
        self,
        queues: Mapping[str, ProducerQueue],
        *,
        clock: Clock,
        store: TaskStore,
        dead_letters: CountDeadLetters,
    ) -> None:
        """Ask ``store`` since when tasks wait, and ``dead_letters`` how many of them wait in all."""
        self._queues = queues
        self._clock = clock
        self._store = store
        self._count_dead_letters = dead_letters
        self._feeders = feeders(queues)

    async def of(self, name: str) -> QueueStats:
        """Count what lies in the queue ``name``.

        ``dead_letters`` wait for a person: in the ledger, or still in their queue. Where several queues share one and
        its backend does not count by source, what is in it counts under its own name.
        """
        stats = await self._queues[name].stats()
        return replace(
            stats,
            queue_name=name,
            oldest_message_age=stats.oldest_message_age or await self._age(name, stats),
            dead_letters=await self._dead_letters(name, stats),
        )

    async def _age(self, name: str, stats: QueueStats) -> timedelta | None:
        """Return how long the oldest task waits by the ledger, which knows of those that it was told of."""
        if stats.oldest_message_age is not None or not stats.approximate_messages:
            return None
        try:
            oldest = await self._store.oldest_waiting(name)
        except LedgerUnavailableError:
            return None
        return None if oldest is None else max(self._clock.now() - oldest, timedelta(0))

    async def _dead_letters(self, name: str, stats: QueueStats) -> int | None:
        left = stats.dead_letters if stats.dead_letters is not None else await self._dead_letters_left(name, stats)
        return left if name in self._feeders else await self._count_dead_letters(name, left)

    async def _dead_letters_left(self, name: str, stats: QueueStats) -> int | None:
        """Return how many dead letters are in the dead-letter queue of ``name``, where they are its own alone."""
        if len(self._feeders.get(name, ())) > 1 and not _counts_by_source(self._queues[name]):
            return _all_messages(stats)
        holders = [holder for holder, sources in self._feeders.items() if name in sources]
        if len(holders) != 1 or holders[0] not in self._queues or self._feeders[holders[0]] != {name}:
            return None
        return _all_messages(await self._queues[holders[0]].stats())


def feeders(queues: Mapping[str, ProducerQueue]) -> dict[str, set[str]]:
    """Return, for each dead-letter queue, the queues whose failed tasks it holds."""
    found: dict[str, set[str]] = {}
    for name, queue in queues.items():
        for leaf in leaves(queue):
            if leaf.spec.dead_letter_queue is not None:
                found.setdefault(leaf.spec.dead_letter_queue, set()).add(name)
    return found


async def only_queued(_: str, queued: int | None) -> int | None:
    """Count the dead letters of a queue where no ledger stores any: a ``CountDeadLetters``."""
    return queued


def _counts_by_source(queue: ProducerQueue) -> bool:
    return all(leaf.traits.counts_by_source for leaf in leaves(queue))


def _all_messages(stats: QueueStats) -> int:
    return stats.approximate_messages + stats.inflight_messages + stats.delayed_messages
