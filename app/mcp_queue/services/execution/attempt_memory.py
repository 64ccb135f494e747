"""Counts executions in memory, for queues whose messages cannot carry the count and while no ledger does."""

from collections import OrderedDict
from collections.abc import Sequence

from mcp_queue.ports import Admission, AttemptRecord, AttemptStart

#: How many tasks are remembered; beyond it the one that ran longest ago is forgotten and counts from 1 again.
CAPACITY = 100_000


class ExecutionMemory:
    """An ``ExecutionLog`` of this process alone: it refuses nothing and forgets at a restart."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Remember ``capacity`` tasks."""
        self._capacity = capacity
        self._executions: OrderedDict[tuple[str, int], int] = OrderedDict()

    async def start(self, starts: Sequence[AttemptStart]) -> Sequence[Admission]:
        """Admit everything; the attempt is the message's own where the message counts it."""
        return [Admission(self._count(start)) for start in starts]

    async def record(self, attempt: AttemptRecord) -> None:
        """Forget a task that has ended."""
        if attempt.status.ended:
            self._executions.pop((attempt.task.id, attempt.task.redrive_count), None)

    def _count(self, start: AttemptStart) -> int:
        if start.counts_itself:
            return start.attempt
        key = (start.task.id, start.task.redrive_count)
        attempt = self._executions.pop(key, 0) + 1
        self._executions[key] = attempt
        if len(self._executions) > self._capacity:
            self._executions.popitem(last=False)
        return attempt
