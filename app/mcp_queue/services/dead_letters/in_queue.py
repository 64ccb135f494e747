"""Dead letters without a ledger: what can be done from their queue alone."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterFilter, RedriveStatus
from mcp_queue.domain.dead_letters.reading import (
    DeadLetterDetails,
    DeadLetterPage,
    DeadLetterSummary,
    RedriveOutcome,
    RedriveProgress,
    RedriveRefusal,
    next_generation,
)
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import LedgerDisabledError, NotFoundError, QueueError, TaskNotFoundError, TryLaterError
from mcp_queue.domain.queues import Backend
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock, MessageMover
from mcp_queue.services.dead_letters.edits import DeadLetterEdits, edited
from mcp_queue.services.dead_letters.interface import Depth
from mcp_queue.services.dead_letters.looking import MOST_HELD, DeadLetterSearch, FoundDeadLetter
from mcp_queue.services.dead_letters.redrive import RedriveSender, as_enqueued
from mcp_queue.services.dead_letters.topology import DeadLetterTopology, SourceQueue
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.enqueueing.submission import Enqueued

logger = logging.getLogger(__name__)

#: What a list shows comes from so many messages.
SAMPLE = 200
# Of a queue there is one move at a time, so that its name is enough to tell which one is meant.
_MOVE = "move-"


class QueueDeadLetters:
    """Dead letters in their queue, where they can be counted, sampled, and taken out."""

    def __init__(
        self,
        sources: DeadLetterTopology,
        movers: Mapping[str, MessageMover],
        sender: RedriveSender,
        *,
        depth: Depth,
        rules: EnqueueRules,
        clock: Clock,
    ) -> None:
        """Move all dead letters of a queue by what of ``movers`` is for it."""
        self._sources = sources
        self._movers = movers
        self._sender = sender
        self._depth = depth
        self._rules = rules
        self._clock = clock

    async def summary(self, queue: str) -> DeadLetterSummary:
        """Return how many there are; since when, nobody can tell."""
        self._sources.of(queue)
        return DeadLetterSummary(queue=queue, waiting=await self._depth(queue), oldest_failed_at=None)

    async def list_dead_letters(
        self, query: DeadLetterFilter, *, limit: int, cursor: str | None = None
    ) -> DeadLetterPage:
        """Return a sample; it has no second page."""
        if cursor is not None:
            raise LedgerDisabledError("a sample of dead letters has one page: further ones need the ledger")
        dead_letters = await self._sample(query, SAMPLE)
        dead_letters.sort(key=lambda dead_letter: dead_letter.failed_at, reverse=True)
        return DeadLetterPage(tuple(dead_letters[:limit]), sampled=True)

    async def get(self, queue: str, task_id: str) -> DeadLetterDetails:
        """Return a dead letter that can be found among the first 1,000."""
        async with self._one(queue, task_id) as (_, found):
            return DeadLetterDetails(found.dead_letter)

    async def redrive_one(self, queue: str, task_id: str, edits: DeadLetterEdits, actor: str) -> Enqueued:  # noqa: ARG002  # nobody remembers who
        """Take a dead letter out of its queue once its task was sent."""
        async with self._one(queue, task_id) as (look, found):
            source = self._sources.of(queue)
            task = edited(next_generation(found.dead_letter, source.spec), edits, source.spec, self._rules)
            [verdict] = await self._sender.send(source, [task])
            if isinstance(verdict, QueueError):
                raise verdict
            await _forget(look, found.delivery)
            return as_enqueued(task, source.spec)

    async def redrive_many(
        self,
        query: DeadLetterFilter,
        actor: str,  # noqa: ARG002  # nobody remembers who
        *,
        dry_run: bool = False,
        max_per_second: float | None = None,
    ) -> RedriveOutcome | RedriveProgress:
        """Let the backend move all dead letters, or take out those that ``query`` means as far as they can be found."""
        source = self._sources.of(query.queue)
        if dry_run:
            return RedriveOutcome(matched=len(await self._sample(query, MOST_HELD)), sampled=True)
        if query == DeadLetterFilter(queue=query.queue) and source.dead_letters().spec.backend is Backend.SQS:
            if source.shared:
                raise LedgerDisabledError(_shared(source, "move all of them back"))
            if (mover := self._movers.get(query.queue)) is not None:
                self._sender.check_open(source)
                return await _moving(mover, query.queue, max_per_second)
        if max_per_second is not None:
            raise LedgerDisabledError("a rate needs the ledger, and none is configured")
        return await self._take_out(source, query)

    async def delete(self, queue: str, task_id: str, actor: str) -> None:  # noqa: ARG002  # nobody remembers who
        """Delete a dead letter that can be found among the first 1,000."""
        async with self._one(queue, task_id) as (look, found):
            await look.complete(found.delivery)

    async def purge(self, queue: str, actor: str) -> int | None:  # noqa: ARG002  # nobody remembers who
        """Purge the dead-letter queue."""
        source = self._sources.of(queue)
        if source.shared:
            raise LedgerDisabledError(_shared(source, "delete all of them"))
        return await source.dead_letters().purge()

    async def redrive(self, redrive_id: str) -> RedriveProgress:
        """Return how far the backend came."""
        progress = await self._mover(redrive_id).progress(redrive_id)
        if progress is None:
            raise NotFoundError("there is no such redrive")
        return replace(progress, queue=redrive_id.removeprefix(_MOVE))

    async def cancel_redrive(self, redrive_id: str) -> RedriveProgress:
        """Let the backend stop."""
        await self._mover(redrive_id).cancel()
        return await self.redrive(redrive_id)

    def _mover(self, redrive_id: str) -> MessageMover:
        mover = self._movers.get(redrive_id.removeprefix(_MOVE)) if redrive_id.startswith(_MOVE) else None
        if mover is None:
            raise LedgerDisabledError("redrives are remembered by the ledger, and none is configured")
        return mover

    async def _sample(self, query: DeadLetterFilter, most: int) -> list[DeadLetter]:
        dead_letters: list[DeadLetter] = []
        async with self._looking(query, most) as look:
            while (found := await look.find()) is not None:
                dead_letters += [one.dead_letter for one in found]
        return dead_letters

    async def _take_out(self, source: SourceQueue, query: DeadLetterFilter) -> RedriveOutcome:
        redriven, refused = 0, list[RedriveRefusal]()
        async with self._looking(query, MOST_HELD) as look:
            while (found := await look.find()) is not None:
                errors = await self._send(look, source, found)
                redriven += len(found) - len(errors)
                refused += errors
                outage = next((one.error for one in errors if isinstance(one.error, TryLaterError)), None)
                if outage is not None and not redriven:
                    raise outage
                if outage is not None:
                    break
        matched = redriven + len(refused)
        return RedriveOutcome(matched=matched, redriven=redriven, refused=tuple(refused), sampled=True)

    async def _send(
        self, look: DeadLetterSearch, source: SourceQueue, found: Sequence[FoundDeadLetter]
    ) -> list[RedriveRefusal]:
        refused: list[RedriveRefusal] = []
        ready: list[tuple[Task, Delivery]] = []
        for one in found:
            try:
                ready.append((next_generation(one.dead_letter, source.spec), one.delivery))
            except QueueError as error:
                refused.append(RedriveRefusal(one.dead_letter.task_id, error))
        verdicts = await self._sender.send(source, [task for task, _ in ready]) if ready else []
        sent: list[Delivery] = []
        for (task, delivery), verdict in zip(ready, verdicts, strict=True):
            if isinstance(verdict, QueueError):
                refused.append(RedriveRefusal(task.id, verdict))
            else:
                sent.append(delivery)
        await asyncio.gather(*(_forget(look, delivery) for delivery in sent))
        return refused

    @contextlib.asynccontextmanager
    async def _looking(self, query: DeadLetterFilter, most: int) -> AsyncIterator[DeadLetterSearch]:
        look = DeadLetterSearch(self._sources.of(query.queue), query, self._clock, most)
        try:
            yield look
        finally:
            await look.put_back()

    @contextlib.asynccontextmanager
    async def _one(self, queue: str, task_id: str) -> AsyncIterator[tuple[DeadLetterSearch, FoundDeadLetter]]:
        async with self._looking(DeadLetterFilter(queue=queue, ids=(task_id,)), MOST_HELD) as look:
            while (found := await look.find()) is not None:
                if found:
                    yield look, found[0]
                    return
        message = (
            f"no dead letter {task_id[:128]!r} was found; without a ledger only the first {MOST_HELD} are looked at"
        )
        raise TaskNotFoundError(message)


async def _moving(mover: MessageMover, queue: str, max_per_second: float | None) -> RedriveProgress:
    await mover.start(max_per_second)
    begun = RedriveProgress(id=_MOVE + queue, status=RedriveStatus.RUNNING, matched=None, redriven=0)
    # The backend may tell of a move only a moment after it began.
    return replace(await mover.progress(begun.id) or begun, queue=queue)


async def _forget(look: DeadLetterSearch, delivery: Delivery) -> None:
    try:
        await look.complete(delivery)
    except QueueError as error:
        logger.warning("a redriven dead letter stays in its queue: %s", error, extra={"queue": delivery.queue})


def _shared(source: SourceQueue, wish: str) -> str:
    others = ", ".join(sorted(source.siblings - {source.name}))
    return (
        f"the letters of {source.name!r} share a dead-letter queue with those of {others}: to {wish} needs the ledger"
    )
