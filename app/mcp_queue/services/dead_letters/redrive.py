"""Sends dead letters back to their queue: one loop, whether they lie in the ledger or in their queue."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from typing_extensions import override

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, Redrive, RedriveStatus
from mcp_queue.domain.dead_letters.reading import RedriveOutcome, RedriveRefusal, next_generation
from mcp_queue.domain.errors import LedgerUnavailableError, NotFoundError, QueueError, TryLaterError
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.domain.task_states import Page
from mcp_queue.ports import DeadLetterMetrics, DeadLetterStore
from mcp_queue.services.dead_letters.topology import DeadLetterTopology, SourceQueue
from mcp_queue.services.enqueueing.submission import Enqueued
from mcp_queue.services.queues.purges import Purges

logger = logging.getLogger(__name__)

#: Dead letters that are read, sent and marked at a time: what is in memory of a redrive, however large it is.
PAGE = 50
#: A redrive with a rate sends smaller pages, so many a second.
PAGES_PER_SECOND = 4


class _Identified(Protocol):
    @property
    def task_id(self) -> str: ...


Item = TypeVar("Item", bound=_Identified)


class RedriveSource(Protocol[Item]):
    """The place that a redrive takes dead letters from: the ledger, or their queue."""

    async def read(self, redrive: Redrive, limit: int) -> Page[Item]:
        """Return dead letters after the cursor of ``redrive``, the oldest first; the last page has no next cursor."""
        ...

    async def send(self, redrive: Redrive, items: Sequence[Item]) -> Sequence[Task | QueueError]:
        """Send dead letters back; return for each, in the order given, its new task or why it was not sent."""
        ...


class RedrivePace:
    """Decides how long a redrive waits, and whether it goes on: this one never waits, and an outage ends it."""

    def __init__(self) -> None:
        """Remember what is refused."""
        self.refusals: list[RedriveRefusal] = []

    async def after_send(self, redrive: Redrive, refusals: Sequence[RedriveRefusal]) -> bool:  # noqa: ARG002  # others store it
        """Return whether to go on after a send; what was refused with ``TryLaterError`` is sent again then."""
        self.refusals += refusals
        return not is_outage(refusals)

    async def after_page(self, redrive: Redrive, count: int) -> bool:  # noqa: ARG002  # others wait for it
        """Return whether to go on after a page of ``count`` dead letters."""
        return True


async def redrive_all(redrive: Redrive, source: RedriveSource[Item], pace: RedrivePace) -> Redrive:
    """Send back the dead letters of ``redrive`` from its cursor on; return how far it came."""
    while True:
        page = await source.read(redrive, _page_size(redrive.max_per_second))
        items: Sequence[Item] = page.items
        while items:
            sent = list(zip(items, await source.send(redrive, items), strict=True))
            refusals = [RedriveRefusal(item.task_id, error) for item, error in sent if isinstance(error, QueueError)]
            items = [item for item, error in sent if isinstance(error, TryLaterError)]
            redrive = replace(
                redrive,
                redriven=redrive.redriven + len(sent) - len(refusals),
                failed=redrive.failed + len(refusals) - len(items),
            )
            if not await pace.after_send(redrive, refusals):
                return redrive
        redrive = replace(redrive, cursor=page.next_cursor)
        if page.next_cursor is None:
            return replace(redrive, status=RedriveStatus.COMPLETED)
        if not await pace.after_page(redrive, len(page.items)):
            return redrive


async def redrive_at_once(redrive: Redrive, source: RedriveSource[Item]) -> RedriveOutcome:
    """Send back the dead letters of ``redrive`` while somebody waits for it; an outage of the queue ends it.

    Raises:
        TryLaterError: the queue takes no task at the moment, and has taken none.

    """
    pace = RedrivePace()
    redrive = await redrive_all(redrive, source, pace)
    if not redrive.redriven:
        for refusal in pace.refusals:
            if isinstance(refusal.error, TryLaterError):
                raise refusal.error
    return RedriveOutcome(matched=redrive.matched, redriven=redrive.redriven, refused=tuple(pace.refusals))


class RedriveSender:
    """Puts the tasks of dead letters into their queue again, unless it was purged a moment ago."""

    def __init__(self, *, purges: Purges, metrics: DeadLetterMetrics) -> None:
        """Count in ``metrics`` what was sent."""
        self._purges = purges
        self._metrics = metrics

    def check_open(self, source: SourceQueue) -> None:
        """Return if the queue takes tasks; raises ``BackendUnavailableError`` where it was purged a moment ago."""
        self._purges.check_open(source.name)

    async def redrive(self, source: SourceQueue, dead_letters: Sequence[DeadLetter]) -> list[Task | QueueError]:
        """Send dead letters back as the next generation; return for each its new task or why it was not sent."""
        made = [_task_or_error(dead_letter, source.spec) for dead_letter in dead_letters]
        verdicts = iter(await self.send(source, [task for task in made if isinstance(task, Task)]))
        return [next(verdicts) if isinstance(task, Task) else task for task in made]

    async def send(self, source: SourceQueue, tasks: Sequence[Task]) -> list[Task | QueueError]:
        """Send ``tasks`` to their queue; return each, or why it was not sent, in the order given."""
        if not tasks:
            return []
        try:
            self.check_open(source)
            answers = await source.queue.enqueue_batch(tasks)
        except QueueError as error:
            return [error] * len(tasks)
        verdicts = [
            answer if isinstance(answer, QueueError) else task for task, answer in zip(tasks, answers, strict=True)
        ]
        self._metrics.redriven(source.name, sum(isinstance(verdict, Task) for verdict in verdicts))
        return verdicts


class Redriver(RedriveSource[DeadLetter]):
    """Redrives stored dead letters: first sent, then marked, so that a crash in between duplicates and never loses."""

    def __init__(self, store: DeadLetterStore, topology: DeadLetterTopology, sender: RedriveSender) -> None:
        """Mark in ``store`` what ``sender`` has sent."""
        self._store = store
        self._topology = topology
        self._sender = sender

    @override
    async def read(self, redrive: Redrive, limit: int) -> Page[DeadLetter]:
        return await self._store.read_dead_letters(redrive.filter, limit=limit, cursor=redrive.cursor)

    @override
    async def send(self, redrive: Redrive, items: Sequence[DeadLetter]) -> Sequence[Task | QueueError]:
        try:
            source = self._topology.of(redrive.filter.queue)
        except NotFoundError as error:  # it is no longer configured
            return [error] * len(items)
        return await self._mark(source, await self._sender.redrive(source, items), redrive.actor)

    async def send_one(self, source: SourceQueue, task: Task, actor: str) -> Task | QueueError:
        """Send one task of the next generation and close its dead letter; return why it was not sent."""
        [verdict] = await self._mark(source, await self._sender.send(source, [task]), actor)
        return verdict

    async def _mark(
        self, source: SourceQueue, verdicts: list[Task | QueueError], actor: str
    ) -> list[Task | QueueError]:
        sent = [task for task in verdicts if isinstance(task, Task)]
        try:
            await self._store.mark_redriven(sent, actor)
        except LedgerUnavailableError:
            # They are on their way: the consumer that runs one closes its dead letter.
            logger.warning("%d redriven dead letters could not be marked", len(sent), extra={"queue": source.name})
        return verdicts


def as_enqueued(task: Task, spec: QueueSpec) -> Enqueued:
    """Return a task that went back to the queue of ``spec`` as its client sees it."""
    timeout = task.visibility_timeout or spec.visibility_timeout
    return Enqueued(task=task, status=TaskStatus.QUEUED, visibility_timeout=timeout)


def is_outage(refusals: Sequence[RedriveRefusal]) -> bool:
    """Whether the queue takes some of the tasks at another time only."""
    return any(isinstance(refusal.error, TryLaterError) for refusal in refusals)


def _page_size(rate: float | None) -> int:
    return PAGE if rate is None else max(1, min(PAGE, int(rate / PAGES_PER_SECOND)))


def _task_or_error(dead_letter: DeadLetter, spec: QueueSpec) -> Task | QueueError:
    try:
        return next_generation(dead_letter, spec)
    except QueueError as error:
        return error
