"""Counts executions in memory, for queues whose messages cannot carry the count and while no ledger does."""

from collections import OrderedDict
from collections.abc import Sequence

from typing_extensions import override

from mcp_queue.domain.task import TaskStatus
from mcp_queue.ports import Admission, AttemptRecord, AttemptStart, ExecutionLog

#: How many tasks are remembered; beyond it the one that ran longest ago is forgotten and counts from 1 again.
CAPACITY = 100_000


class ExecutionMemory(ExecutionLog):
    """The attempts of this process alone: it refuses nothing and forgets at a restart.

    An attempt is the message's own where the message counts it.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._executions: OrderedDict[tuple[str, int], int] = OrderedDict()

    @override
    async def start(self, starts: Sequence[AttemptStart]) -> Sequence[Admission]:
        return [Admission(self._count(start)) for start in starts]

    @override
    async def record(self, attempt: AttemptRecord) -> None:
        key = (attempt.task.id, attempt.task.redrive_count)
        if attempt.status.ended:
            self._executions.pop(key, None)
        elif attempt.status is TaskStatus.QUEUED and key in self._executions:
            self._executions[key] = attempt.attempt - 1  # that execution does not count

    def _count(self, start: AttemptStart) -> int:
        if start.counts_itself:
            return start.attempt
        key = (start.task.id, start.task.redrive_count)
        attempt = self._executions.pop(key, 0) + 1
        self._executions[key] = attempt
        if len(self._executions) > self._capacity:
            self._executions.popitem(last=False)
        return attempt
