"""Sends held tasks to their queues once they are due."""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter
from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import QueueError, TryLaterError
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock, DeadLetterStore, HeldTasks, Metrics
from mcp_queue.services.queues.priority import ProducerQueue

logger = logging.getLogger(__name__)

#: How many tasks are taken from the ledger at a time.
AT_ONCE = 500
#: How long they are leased: longer than any send may take.
LEASE = timedelta(seconds=60)
#: How long a queue rests that takes none at the moment.
REST = timedelta(seconds=5)


class Promoter:
    """Moves due tasks from the ledger to their queues; any number of processes may do so side by side.

    Sent first, then noted: a crash in between sends a task twice, and loses none.
    """

    def __init__(
        self,
        held: HeldTasks,
        dead_letters: DeadLetterStore,
        queues: Mapping[str, ProducerQueue],
        *,
        clock: Clock,
        metrics: Metrics,
        closed: Callable[[], Awaitable[Collection[str]]],
    ) -> None:
        """Leave tasks of the queues that ``closed`` names where they are: they take no tasks at the moment.

        So do those that have just refused some for the moment: no queue holds up the others.
        """
        self._held = held
        self._dead_letters = dead_letters
        self._queues = queues
        self._clock = clock
        self._metrics = metrics
        self._closed = closed
        self._resting: dict[str, float] = {}

    async def promote(self) -> None:
        """Send what is due.

        Raises:
            LedgerUnavailableError: the ledger does not answer.

        """
        closed = await self._closed()
        while tasks := await self._held.due(AT_ONCE, LEASE, known=self._queues, without={*closed, *self._at_rest()}):
            by_queue: dict[str, list[Task]] = {}
            for task in tasks:
                by_queue.setdefault(task.queue, []).append(promoted(task))
            for name, group in by_queue.items():
                await self._note(group, await self._send(name, group))
            if len(tasks) < AT_ONCE:
                return

    async def _send(self, name: str, tasks: Sequence[Task]) -> Sequence[Accepted | QueueError]:
        try:
            return await self._queues[name].enqueue_batch(tasks)
        except QueueError as error:
            return [error] * len(tasks)

    async def _note(self, tasks: Sequence[Task], verdicts: Sequence[Accepted | QueueError]) -> None:
        sent: list[str] = []
        later: list[str] = []
        refused: list[DeadLetter] = []
        for task, verdict in zip(tasks, verdicts, strict=True):
            if isinstance(verdict, Accepted):
                self._metrics.enqueued(task.queue, task.type)
                sent.append(task.id)
            elif isinstance(verdict, TryLaterError):
                later.append(task.id)
            else:
                logger.error("a due task is refused: %s", verdict, extra={"task_id": task.id, "queue": task.queue})
                refused.append(self._dead_letter(task, verdict))
        if refused:
            await self._dead_letters.store_dead_letters(refused)
        await self._held.promoted([*sent, *(dead_letter.task_id for dead_letter in refused)])
        await self._held.release(later)
        self._rest(tasks[0].queue, len(later))

    def _rest(self, queue: str, later: int) -> None:
        """Leave ``queue`` alone for a while if it did not take so many tasks; what goes on for hours is said once."""
        if not later:
            self._resting.pop(queue, None)
            return
        if queue not in self._resting:
            logger.warning("due tasks wait, since their queue takes none at the moment", extra={"queue": queue})
        self._resting[queue] = self._clock.monotonic() + REST.total_seconds()

    def _at_rest(self) -> set[str]:
        now = self._clock.monotonic()
        return {queue for queue, until in self._resting.items() if now < until}

    def _dead_letter(self, task: Task, error: QueueError) -> DeadLetter:
        return DeadLetter(
            task_id=task.id,
            redrive_count=task.redrive_count,
            queue=task.queue,
            failure_reason=f"it could not be sent when it was due: {error}",
            failed_at=self._clock.now(),
            task=task,
        )


def promoted(task: Task) -> Task:
    """Return a held task as it is sent.

    Its deduplication id is its own and new: SQS would swallow it beside an earlier send with the client's id, and
    does swallow its second copy after a crash between sending and noting.
    """
    return replace(task, deduplication_id=f"{task.id}.{task.redrive_count}")
