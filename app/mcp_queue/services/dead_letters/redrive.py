"""Sends dead letters back to their queue."""

import logging
from collections.abc import Sequence

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter
from mcp_queue.domain.dead_letters.reading import next_generation
from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import LedgerUnavailableError, QueueError
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.ports import DeadLetterMetrics, DeadLetterStore
from mcp_queue.services.dead_letters.topology import SourceQueue
from mcp_queue.services.enqueueing.submission import Enqueued
from mcp_queue.services.queues.purges import Purges

logger = logging.getLogger(__name__)


class RedriveSender:
    """Puts tasks into their queue again, unless it was purged a moment ago."""

    def __init__(self, *, purges: Purges, metrics: DeadLetterMetrics) -> None:
        """Keep to ``purges``."""
        self._purges = purges
        self._metrics = metrics

    def check_open(self, source: SourceQueue) -> None:
        """Return if the queue takes tasks; raises ``BackendUnavailableError`` where it was purged a moment ago."""
        self._purges.check_open(source.name)

    async def send(self, source: SourceQueue, tasks: Sequence[Task]) -> Sequence[Accepted | QueueError]:
        """Send ``tasks`` to their queue; each has its own verdict, in the order given."""
        try:
            self.check_open(source)
            verdicts = await source.queue.enqueue_batch(tasks)
        except QueueError as error:
            return [error] * len(tasks)
        self._metrics.redriven(source.name, sum(isinstance(verdict, Accepted) for verdict in verdicts))
        return verdicts


class Redriver:
    """Redrives stored dead letters: first sent, then marked, so that a crash in between duplicates and never loses."""

    def __init__(self, store: DeadLetterStore, sender: RedriveSender) -> None:
        """Mark in ``store`` what ``sender`` has sent."""
        self._store = store
        self._sender = sender

    async def redrive(
        self, source: SourceQueue, dead_letters: Sequence[DeadLetter], actor: str
    ) -> list[QueueError | None]:
        """Send dead letters back; return for each, in the order given, why it could not be."""
        made = [_task_or_error(dead_letter, source) for dead_letter in dead_letters]
        verdicts = iter(await self.send(source, [task for task in made if isinstance(task, Task)], actor))
        return [next(verdicts) if isinstance(task, Task) else task for task in made]

    async def send(self, source: SourceQueue, tasks: Sequence[Task], actor: str) -> list[QueueError | None]:
        """Send tasks of the next generation and close their dead letters; return why each could not be sent."""
        verdicts = await self._sender.send(source, tasks) if tasks else []
        sent = [task for task, verdict in zip(tasks, verdicts, strict=True) if isinstance(verdict, Accepted)]
        try:
            await self._store.mark_redriven(sent, actor)
        except LedgerUnavailableError:
            # They are on their way: whoever runs one closes its dead letter.
            logger.warning("%d redriven letters could not be marked", len(sent), extra={"queue": source.name})
        return [verdict if isinstance(verdict, QueueError) else None for verdict in verdicts]


def _task_or_error(dead_letter: DeadLetter, source: SourceQueue) -> Task | QueueError:
    try:
        return next_generation(dead_letter, source.spec)
    except QueueError as error:
        return error


def as_enqueued(task: Task, spec: QueueSpec) -> Enqueued:
    """Return a task that went back to the queue of ``spec`` as its client sees it."""
    timeout = task.visibility_timeout or spec.visibility_timeout
    return Enqueued(task=task, status=TaskStatus.QUEUED, visibility_timeout=timeout)
