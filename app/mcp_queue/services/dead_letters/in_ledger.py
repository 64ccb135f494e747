"""Dead letters in the ledger: read, redriven and closed there."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterCount, DeadLetterFilter, Redrive
from mcp_queue.domain.dead_letters.reading import (
    DeadLetterDetails,
    DeadLetterPage,
    DeadLetterSummary,
    RedriveOutcome,
    RedriveProgress,
    RedriveRefusal,
    next_generation,
)
from mcp_queue.domain.errors import LedgerUnavailableError, NotFoundError, TaskNotFoundError, TryLaterError
from mcp_queue.domain.formats.identifiers import uuid7
from mcp_queue.ports import Clock, DeadLetterMetrics, DeadLetterStore, RedriveJobs, TaskStore
from mcp_queue.services.dead_letters.edits import DeadLetterEdits, edited
from mcp_queue.services.dead_letters.interface import Depth
from mcp_queue.services.dead_letters.redrive import Redriver, as_enqueued
from mcp_queue.services.dead_letters.redrive_runner import PAGE
from mcp_queue.services.dead_letters.topology import DeadLetterTopology, SourceQueue
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.enqueueing.submission import Enqueued
from mcp_queue.services.periodic import Job

#: More dead letters than this are redriven in the background.
MOST_AT_ONCE = 1000


class LedgerDeadLetters:
    """Dead letters in the ledger."""

    def __init__(
        self,
        store: DeadLetterStore,
        jobs: RedriveJobs,
        tasks: TaskStore,
        sources: DeadLetterTopology,
        redriver: Redriver,
        *,
        depth: Depth,
        rules: EnqueueRules,
        clock: Clock,
        random_bits: Callable[[int], int],
        wake: Callable[[], None],
    ) -> None:
        """Make edits keep to ``rules``; ``wake`` whoever works on ``jobs`` when there is a new one."""
        self._store = store
        self._jobs = jobs
        self._tasks = tasks
        self._sources = sources
        self._redriver = redriver
        self._depth = depth
        self._rules = rules
        self._clock = clock
        self._random_bits = random_bits
        self._wake = wake

    async def summary(self, queue: str) -> DeadLetterSummary:
        """Return how many wait; since when, of those that are stored."""
        stored = await stored_dead_letters(self._store, self._sources.of(queue))
        return DeadLetterSummary(
            queue=queue, waiting=await self._depth(queue), oldest_failed_at=stored.oldest_failed_at
        )

    async def list_dead_letters(
        self, query: DeadLetterFilter, *, limit: int, cursor: str | None = None
    ) -> DeadLetterPage:
        """Return dead letters without payloads, the newest first."""
        page = await self._store.list_dead_letters(await self._with_shelf(query), limit=limit, cursor=cursor)
        return DeadLetterPage(page.items, page.next_cursor)

    async def get(self, queue: str, task_id: str) -> DeadLetterDetails:
        """Return a dead letter with its payload and its attempts."""
        dead_letter = await self._dead_letter(self._sources.of(queue), task_id)
        view = await self._tasks.get(dead_letter.task_id)
        attempts = () if view is None else view.attempts
        return DeadLetterDetails(
            dead_letter, tuple(one for one in attempts if one.redrive_count == dead_letter.redrive_count)
        )

    async def redrive_one(self, queue: str, task_id: str, edits: DeadLetterEdits, actor: str) -> Enqueued:
        """Send the task of a dead letter back to its queue."""
        source = self._sources.of(queue)
        task = next_generation(await self._dead_letter(source, task_id), source.spec)
        task = edited(task, edits, source.spec, self._rules)
        [error] = await self._redriver.send(source, [task], actor)
        if error is not None:
            raise error
        return as_enqueued(task, source.spec)

    async def redrive_many(
        self, query: DeadLetterFilter, actor: str, *, dry_run: bool = False, max_per_second: float | None = None
    ) -> RedriveOutcome | RedriveProgress:
        """Send back up to 1,000 dead letters at once, where no rate is asked for; others in the background."""
        query = self._until_now(await self._with_shelf(query))
        matched = await self._store.count_dead_letters(query)
        if dry_run:
            return RedriveOutcome(matched=matched)
        if max_per_second is None and matched <= MOST_AT_ONCE:
            return await self._redrive_now(query, matched, actor)
        now = self._clock.now()
        job = Redrive(
            id=uuid7(int(now.timestamp() * 1000), self._random_bits(74)),
            filter=query,
            actor=actor,
            created_at=now,
            matched=matched,
            max_per_second=max_per_second,
        )
        await self._jobs.create(job)
        self._wake()
        return _progress(job)

    async def delete(self, queue: str, task_id: str, actor: str) -> None:
        """Close a dead letter for good."""
        for home in _homes(self._sources.of(queue)):
            if await self._store.delete_dead_letter(home, task_id, actor):
                return
        raise TaskNotFoundError(_none(task_id))

    async def purge(self, queue: str, actor: str) -> int:
        """Close every dead letter that waits by now."""
        homes, now = _homes(self._sources.of(queue)), self._clock.now()
        return sum([await self._store.purge_dead_letters(home, actor, now) for home in homes])

    async def redrive(self, redrive_id: str) -> RedriveProgress:
        """Return how far a job came."""
        job = await self._jobs.get(redrive_id)
        if job is None:
            raise NotFoundError("there is no such redrive")
        return _progress(job)

    async def cancel_redrive(self, redrive_id: str) -> RedriveProgress:
        """Stop a job; what is under way is finished."""
        await self._jobs.cancel(redrive_id)
        return await self.redrive(redrive_id)

    async def _dead_letter(self, source: SourceQueue, task_id: str) -> DeadLetter:
        for home in _homes(source):
            dead_letter = await self._store.get_dead_letter(home, task_id)
            if dead_letter is not None:
                return dead_letter
        raise TaskNotFoundError(_none(task_id))

    async def _with_shelf(self, query: DeadLetterFilter) -> DeadLetterFilter:
        # Asked for only where there is something: one queue's dead letters alone are read in the order of their index.
        shelf = self._sources.of(query.queue).shelf
        if shelf is None or not await self._store.count_dead_letters(DeadLetterFilter(queue=shelf)):
            return query
        return replace(query, shelf=shelf)

    def _until_now(self, query: DeadLetterFilter) -> DeadLetterFilter:
        """Leave out what fails from now on: a task that fails again at once would be redriven for ever."""
        end = self._clock.now() + timedelta(microseconds=1)
        return replace(query, failed_before=min(query.failed_before or end, end))

    async def _redrive_now(self, query: DeadLetterFilter, matched: int, actor: str) -> RedriveOutcome:
        source = self._sources.of(query.queue)
        redriven, refused, cursor = 0, list[RedriveRefusal](), None
        while True:
            page = await self._store.read_dead_letters(query, limit=PAGE, cursor=cursor)
            verdicts = await self._redriver.redrive(source, page.items, actor)
            errors = [
                RedriveRefusal(dead_letter.task_id, error)
                for dead_letter, error in zip(page.items, verdicts, strict=True)
                if error is not None
            ]
            redriven += len(page.items) - len(errors)
            refused += errors
            outage = errors and all(isinstance(refusal.error, TryLaterError) for refusal in errors)
            if outage and not redriven:
                raise errors[0].error
            cursor = page.next_cursor
            if outage or cursor is None:
                return RedriveOutcome(matched=matched, redriven=redriven, refused=tuple(refused))


async def stored_dead_letters(store: DeadLetterStore, source: SourceQueue) -> DeadLetterCount:
    """Return how many stored dead letters of ``source`` wait, and since when."""
    return _of_source(source, await store.summaries())


def counting(store: DeadLetterStore, sources: DeadLetterTopology) -> Callable[[str], Awaitable[int | None]]:
    """Return what counts the stored dead letters of a queue; it answers ``None`` while the ledger does not."""

    async def count(name: str) -> int | None:
        source = sources.of(name)
        try:
            return await store.count_dead_letters(DeadLetterFilter(queue=name, shelf=source.shelf))
        except LedgerUnavailableError:
            return None

    return count


def watch_ages(store: DeadLetterStore, sources: DeadLetterTopology, metrics: DeadLetterMetrics, clock: Clock) -> Job:
    """Keep the gauge of the oldest dead letter of each queue up to date."""

    async def look() -> None:
        summaries, now = await store.summaries(), clock.now()
        for name in sources.names():
            oldest = _of_source(sources.of(name), summaries).oldest_failed_at
            metrics.oldest_dead_letter(name, None if oldest is None else now - oldest)

    return Job("watch-dead-letters", timedelta(seconds=15), look)


def _of_source(source: SourceQueue, summaries: Mapping[str, DeadLetterCount]) -> DeadLetterCount:
    found = [summaries[home] for home in _homes(source) if home in summaries]
    times: list[datetime] = [summary.oldest_failed_at for summary in found if summary.oldest_failed_at is not None]
    return DeadLetterCount(sum(summary.waiting for summary in found), min(times, default=None))


def _homes(source: SourceQueue) -> list[str]:
    return [source.name] if source.shelf is None else [source.name, source.shelf]


def _none(task_id: str) -> str:
    return f"no dead letter {task_id[:128]!r} of this queue waits"


def _progress(job: Redrive) -> RedriveProgress:
    return RedriveProgress(
        id=job.id,
        queue=job.filter.queue,
        status=job.status,
        matched=job.matched,
        redriven=job.redriven,
        failed=job.failed,
    )
