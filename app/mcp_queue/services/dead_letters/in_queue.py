"""Reads, redrives and deletes dead letters in their queue, where there is no ledger."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace

from typing_extensions import override

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterFilter, Redrive, RedriveStatus
from mcp_queue.domain.dead_letters.reading import (
    DeadLetterDetails,
    DeadLetterPage,
    DeadLetterSummary,
    RedriveOutcome,
    RedriveProgress,
    next_generation,
)
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import LedgerDisabledError, NotFoundError, QueueError, TaskNotFoundError
from mcp_queue.domain.task import Task
from mcp_queue.domain.task_states import Page
from mcp_queue.ports import Clock, MessageBrowser, MessageMover
from mcp_queue.services.dead_letters.edits import DeadLetterEdits, edited
from mcp_queue.services.dead_letters.interface import DeadLetters, Depth
from mcp_queue.services.dead_letters.redrive import RedriveSender, RedriveSource, as_enqueued, redrive_at_once
from mcp_queue.services.dead_letters.search import MOST_HELD, DeadLetterSearch, FoundDeadLetter
from mcp_queue.services.dead_letters.topology import DeadLetterTopology, SourceQueue
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.enqueueing.submission import Enqueued

logger = logging.getLogger(__name__)

#: What a list shows comes from so many messages.
SAMPLE = 200
# Of a queue there is one move at a time, so that its name is enough to tell which one is meant.
_MOVE = "move-"


class QueueDeadLetters(DeadLetters):
    """The dead letters of each queue, in their dead-letter queue: counted, sampled, and taken out."""

    def __init__(
        self,
        topology: DeadLetterTopology,
        movers: Mapping[str, MessageMover],
        browsers: Mapping[str, MessageBrowser],
        sender: RedriveSender,
        *,
        depth: Depth,
        rules: EnqueueRules,
        clock: Clock,
    ) -> None:
        """Move all dead letters of a queue back by its mover, where ``movers`` has one.

        Where ``browsers`` has a dead-letter queue, all of it can be looked at.
        """
        self._topology = topology
        self._movers = movers
        self._browsers = browsers
        self._sender = sender
        self._depth = depth
        self._rules = rules
        self._clock = clock

    @override
    async def summary(self, queue: str) -> DeadLetterSummary:
        self._topology.of(queue)
        return DeadLetterSummary(queue=queue, waiting=await self._depth(queue), oldest_failed_at=None)

    @override
    async def list_dead_letters(
        self, query: DeadLetterFilter, *, limit: int, cursor: str | None = None
    ) -> DeadLetterPage:
        if cursor is not None:
            raise LedgerDisabledError("a sample of dead letters has one page: further ones need the ledger")
        dead_letters = await self._sample(query, SAMPLE)
        dead_letters.sort(key=lambda dead_letter: dead_letter.failed_at, reverse=True)
        return DeadLetterPage(tuple(dead_letters[:limit]), sampled=True)

    @override
    async def get(self, queue: str, task_id: str) -> DeadLetterDetails:
        async with self._one(queue, task_id, take=False) as (_, found):
            return DeadLetterDetails(found.dead_letter)

    @override
    async def redrive_one(self, queue: str, task_id: str, edits: DeadLetterEdits, actor: str) -> Enqueued:
        async with self._one(queue, task_id) as (search, found):
            source = self._topology.of(queue)
            task = edited(next_generation(found.dead_letter, source.spec), edits, source.spec, self._rules)
            [verdict] = await self._sender.send(source, [task])
            if isinstance(verdict, QueueError):
                raise verdict
            await _delete(search, found.delivery)
            return as_enqueued(task, source.spec)

    @override
    async def redrive_many(
        self,
        query: DeadLetterFilter,
        actor: str,
        *,
        dry_run: bool = False,
        max_per_second: float | None = None,
    ) -> RedriveOutcome | RedriveProgress:
        source = self._topology.of(query.queue)
        if dry_run:
            return RedriveOutcome(matched=len(await self._sample(query, MOST_HELD)), sampled=True)
        if query == DeadLetterFilter(queue=query.queue) and source.dead_letters().traits.moves_all_back:
            if source.shared:
                raise LedgerDisabledError(_shared(source, "move all of them back"))
            if (mover := self._movers.get(query.queue)) is not None:
                self._sender.check_open(source)
                return await _moving(mover, query.queue, max_per_second)
        if max_per_second is not None:
            raise LedgerDisabledError("a rate needs the ledger, and none is configured")
        return await self._redrive(query, actor)

    @override
    async def delete(self, queue: str, task_id: str, actor: str) -> None:
        async with self._one(queue, task_id) as (search, found):
            await search.complete(found.delivery)

    @override
    async def purge(self, queue: str, actor: str) -> int | None:
        source = self._topology.of(queue)
        if source.shared:
            raise LedgerDisabledError(_shared(source, "delete all of them"))
        return await source.dead_letters().purge()

    @override
    async def redrive(self, redrive_id: str) -> RedriveProgress:
        progress = await self._mover(redrive_id).progress(redrive_id)
        if progress is None:
            raise NotFoundError("there is no such redrive")
        return replace(progress, queue=redrive_id.removeprefix(_MOVE))

    @override
    async def cancel_redrive(self, redrive_id: str) -> RedriveProgress:
        await self._mover(redrive_id).cancel()
        return await self.redrive(redrive_id)

    def _mover(self, redrive_id: str) -> MessageMover:
        mover = self._movers.get(redrive_id.removeprefix(_MOVE)) if redrive_id.startswith(_MOVE) else None
        if mover is None:
            raise LedgerDisabledError("redrives are remembered by the ledger, and none is configured")
        return mover

    async def _sample(self, query: DeadLetterFilter, most: int) -> list[DeadLetter]:
        dead_letters: list[DeadLetter] = []
        async with self._searching(query, most) as search:
            while (found := await search.find()) is not None:
                dead_letters += [one.dead_letter for one in found]
        return dead_letters

    async def _redrive(self, query: DeadLetterFilter, actor: str) -> RedriveOutcome:
        redrive = Redrive(id="", filter=query, actor=actor, created_at=self._clock.now(), matched=0)
        async with self._searching(query, MOST_HELD, take=True) as search:
            source = _SearchSource(search, self._sender, self._topology.of(query.queue))
            outcome = await redrive_at_once(redrive, source)
        return replace(outcome, matched=outcome.redriven + len(outcome.refused), sampled=True)

    @contextlib.asynccontextmanager
    async def _searching(
        self, query: DeadLetterFilter, most: int, *, take: bool = False
    ) -> AsyncIterator[DeadLetterSearch]:
        source = self._topology.of(query.queue)
        browser = self._browsers.get(source.dead_letters().spec.name)
        search = DeadLetterSearch(source, query, self._clock, most=most, browser=browser, take=take)
        try:
            yield search
        finally:
            await search.release()

    @contextlib.asynccontextmanager
    async def _one(
        self, queue: str, task_id: str, *, take: bool = True
    ) -> AsyncIterator[tuple[DeadLetterSearch, FoundDeadLetter]]:
        async with self._searching(DeadLetterFilter(queue=queue, ids=(task_id,)), MOST_HELD, take=take) as search:
            while (found := await search.find()) is not None:
                if found:
                    yield search, found[0]
                    return
        message = (
            f"no dead letter {task_id[:128]!r} was found; without a ledger only the first {MOST_HELD} are looked at"
        )
        holder = self._topology.of(queue).dead_letters().spec
        if holder.fifo and holder.name not in self._browsers:
            message += ", and none that stands behind another of its group can be reached"
        raise TaskNotFoundError(message)


@dataclass(frozen=True, slots=True)
class _SearchSource(RedriveSource[FoundDeadLetter]):
    """What one search finds, page by page; each dead letter is deleted once its task was sent."""

    search: DeadLetterSearch
    sender: RedriveSender
    source: SourceQueue

    @override
    async def read(self, redrive: Redrive, limit: int) -> Page[FoundDeadLetter]:
        found = await self.search.find()
        return Page(()) if found is None else Page(tuple(found), next_cursor="")

    @override
    async def send(self, redrive: Redrive, items: Sequence[FoundDeadLetter]) -> Sequence[Task | QueueError]:
        verdicts = await self.sender.redrive(self.source, [item.dead_letter for item in items])
        sent = [item for item, verdict in zip(items, verdicts, strict=True) if isinstance(verdict, Task)]
        await asyncio.gather(*(_delete(self.search, item.delivery) for item in sent))
        return verdicts


async def _moving(mover: MessageMover, queue: str, max_per_second: float | None) -> RedriveProgress:
    await mover.start(max_per_second)
    begun = RedriveProgress(id=_MOVE + queue, status=RedriveStatus.RUNNING, matched=None, redriven=0)
    # The backend may tell of a move only a moment after it began.
    return replace(await mover.progress(begun.id) or begun, queue=queue)


async def _delete(search: DeadLetterSearch, delivery: Delivery) -> None:
    try:
        await search.complete(delivery)
    except QueueError as error:
        logger.warning("a redriven dead letter stays in its queue: %s", error, extra={"queue": delivery.queue})


def _shared(source: SourceQueue, wish: str) -> str:
    others = ", ".join(sorted(source.siblings - {source.name}))
    return f"{source.name!r} shares its dead-letter queue with {others}: to {wish} needs the ledger"
