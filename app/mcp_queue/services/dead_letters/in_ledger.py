"""Reads, redrives and closes dead letters that the ledger stores."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from typing_extensions import override

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterCount, DeadLetterFilter, Redrive
from mcp_queue.domain.dead_letters.reading import (
    DeadLetterDetails,
    DeadLetterPage,
    DeadLetterSummary,
    RedriveOutcome,
    RedriveProgress,
    next_generation,
)
from mcp_queue.domain.errors import LedgerUnavailableError, NotFoundError, QueueError, TaskNotFoundError
from mcp_queue.domain.formats.identifiers import uuid7
from mcp_queue.ports import Clock, DeadLetterMetrics, DeadLetterStore, RedriveStore, TaskStore
from mcp_queue.services.dead_letters.edits import DeadLetterEdits, edited
from mcp_queue.services.dead_letters.interface import DeadLetters, Depth
from mcp_queue.services.dead_letters.redrive import Redriver, as_enqueued, redrive_at_once
from mcp_queue.services.dead_letters.topology import DeadLetterTopology, SourceQueue
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.enqueueing.submission import Enqueued
from mcp_queue.services.periodic import PeriodicJob
from mcp_queue.services.queues.stats import CountDeadLetters

#: More dead letters than this are redriven in the background.
MOST_AT_ONCE = 1000


class LedgerDeadLetters(DeadLetters):
    """The dead letters of each queue, of which the ledger stores all."""

    def __init__(
        self,
        store: DeadLetterStore,
        redrives: RedriveStore,
        tasks: TaskStore,
        topology: DeadLetterTopology,
        redriver: Redriver,
        *,
        depth: Depth,
        rules: EnqueueRules,
        clock: Clock,
        random_bits: Callable[[int], int],
        wake: Callable[[], None],
    ) -> None:
        """Make edits keep to ``rules``; ``wake`` is called when ``redrives`` has a new one for the background."""
        self._store = store
        self._redrives = redrives
        self._tasks = tasks
        self._topology = topology
        self._redriver = redriver
        self._depth = depth
        self._rules = rules
        self._clock = clock
        self._random_bits = random_bits
        self._wake = wake

    @override
    async def summary(self, queue: str) -> DeadLetterSummary:
        stored = _of_source(self._topology.of(queue), await self._store.summaries())
        return DeadLetterSummary(
            queue=queue, waiting=await self._depth(queue), oldest_failed_at=stored.oldest_failed_at
        )

    @override
    async def list_dead_letters(
        self, query: DeadLetterFilter, *, limit: int, cursor: str | None = None
    ) -> DeadLetterPage:
        page = await self._store.list_dead_letters(await self._with_shared(query), limit=limit, cursor=cursor)
        return DeadLetterPage(page.items, page.next_cursor)

    @override
    async def get(self, queue: str, task_id: str) -> DeadLetterDetails:
        dead_letter = await self._dead_letter(self._topology.of(queue), task_id)
        view = await self._tasks.get(dead_letter.task_id)
        attempts = () if view is None else view.attempts
        return DeadLetterDetails(
            dead_letter, tuple(one for one in attempts if one.redrive_count == dead_letter.redrive_count)
        )

    @override
    async def redrive_one(self, queue: str, task_id: str, edits: DeadLetterEdits, actor: str) -> Enqueued:
        source = self._topology.of(queue)
        task = next_generation(await self._dead_letter(source, task_id), source.spec)
        task = edited(task, edits, source.spec, self._rules)
        verdict = await self._redriver.send_one(source, task, actor)
        if isinstance(verdict, QueueError):
            raise verdict
        return as_enqueued(task, source.spec)

    @override
    async def redrive_many(
        self, query: DeadLetterFilter, actor: str, *, dry_run: bool = False, max_per_second: float | None = None
    ) -> RedriveOutcome | RedriveProgress:
        query = self._until_now(await self._with_shared(query))
        matched = await self._store.count_dead_letters(query)
        if dry_run:
            return RedriveOutcome(matched=matched)
        now = self._clock.now()
        redrive = Redrive(
            id=uuid7(int(now.timestamp() * 1000), self._random_bits(74)),
            filter=query,
            actor=actor,
            created_at=now,
            matched=matched,
            max_per_second=max_per_second,
        )
        if max_per_second is None and matched <= MOST_AT_ONCE:
            # Not stored: its client learns how it ended, and repeats it where no answer comes.
            return await redrive_at_once(redrive, self._redriver)
        await self._redrives.create(redrive)
        self._wake()
        return _progress(redrive)

    @override
    async def delete(self, queue: str, task_id: str, actor: str) -> None:
        for name in self._topology.of(queue).stored_under:
            if await self._store.delete_dead_letter(name, task_id, actor):
                return
        raise TaskNotFoundError(_none(task_id))

    @override
    async def purge(self, queue: str, actor: str) -> int:
        names, now = self._topology.of(queue).stored_under, self._clock.now()
        return sum([await self._store.purge_dead_letters(name, actor, now) for name in names])

    @override
    async def redrive(self, redrive_id: str) -> RedriveProgress:
        redrive = await self._redrives.get(redrive_id)
        if redrive is None:
            raise NotFoundError("there is no such redrive")
        return _progress(redrive)

    @override
    async def cancel_redrive(self, redrive_id: str) -> RedriveProgress:
        await self._redrives.cancel(redrive_id)
        return await self.redrive(redrive_id)

    async def _dead_letter(self, source: SourceQueue, task_id: str) -> DeadLetter:
        for name in source.stored_under:
            dead_letter = await self._store.get_dead_letter(name, task_id)
            if dead_letter is not None:
                return dead_letter
        raise TaskNotFoundError(_none(task_id))

    async def _with_shared(self, query: DeadLetterFilter) -> DeadLetterFilter:
        # Asked for only where there is something: one queue's dead letters alone are read in the order of their index.
        shared = self._topology.of(query.queue).shared_dead_letter_queue
        if shared is None or not await self._store.count_dead_letters(DeadLetterFilter(queue=shared)):
            return query
        return replace(query, shared_dead_letter_queue=shared)

    def _until_now(self, query: DeadLetterFilter) -> DeadLetterFilter:
        """Leave out what fails from now on: a task that fails again at once would be redriven again and again."""
        end = self._clock.now() + timedelta(microseconds=1)
        return replace(query, failed_before=min(query.failed_before or end, end))


def counting(store: DeadLetterStore, topology: DeadLetterTopology) -> CountDeadLetters:
    """Return what counts the dead letters of a queue, stored ones and queued ones; unknown while the ledger is away."""

    async def count(name: str, queued: int | None) -> int | None:
        shared = topology.of(name).shared_dead_letter_queue
        try:
            stored = await store.count_dead_letters(DeadLetterFilter(queue=name, shared_dead_letter_queue=shared))
        except LedgerUnavailableError:
            return None
        return stored + (queued or 0)

    return count


def watch_ages(
    store: DeadLetterStore, topology: DeadLetterTopology, metrics: DeadLetterMetrics, clock: Clock
) -> PeriodicJob:
    """Keep the gauge of the oldest dead letter of each queue up to date."""

    async def observe() -> None:
        summaries, now = await store.summaries(), clock.now()
        for name in topology.names():
            oldest = _of_source(topology.of(name), summaries).oldest_failed_at
            metrics.oldest_dead_letter(name, None if oldest is None else now - oldest)

    return PeriodicJob("watch-dead-letters", timedelta(seconds=15), observe)


def _of_source(source: SourceQueue, summaries: Mapping[str, DeadLetterCount]) -> DeadLetterCount:
    found = [summaries[name] for name in source.stored_under if name in summaries]
    times: list[datetime] = [summary.oldest_failed_at for summary in found if summary.oldest_failed_at is not None]
    return DeadLetterCount(sum(summary.waiting for summary in found), min(times, default=None))


def _none(task_id: str) -> str:
    return f"no dead letter {task_id[:128]!r} of this queue waits"


def _progress(redrive: Redrive) -> RedriveProgress:
    return RedriveProgress(
        id=redrive.id,
        queue=redrive.filter.queue,
        status=redrive.status,
        matched=redrive.matched,
        redriven=redrive.redriven,
        failed=redrive.failed,
    )
