"""Counts executions in memory, for queues whose messages cannot carry the count and while no ledger does."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.ports import Admission, AttemptRecord, AttemptStart, DecidedEnd, ExecutionLog

logger = logging.getLogger(__name__)

#: How many tasks are remembered; beyond it the one that ran longest ago is forgotten and counts from 1 again.
CAPACITY = 100_000


@dataclass(slots=True)
class _Executions:
    """The attempts of one task: the latest, and how it ended where its queue could not take that."""

    attempt: int
    decided: DecidedEnd | None = None


class ExecutionMemory(ExecutionLog):
    """The attempts of this process alone: it refuses nothing and forgets at a restart.

    An attempt is the message's own where the message counts it.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._executions: OrderedDict[tuple[str, int], _Executions] = OrderedDict()

    @property
    @override
    def counts_crashes(self) -> bool:
        return False

    @override
    async def mark_suspect(self, start: AttemptStart) -> int:
        # It ends with the process that a suspect would end.
        return 0

    @override
    async def start(self, starts: Sequence[AttemptStart]) -> Sequence[Admission]:
        return [self._admit(start) for start in starts]

    @override
    async def record(self, attempt: AttemptRecord) -> None:
        self.end(attempt)

    def note(self, task: Task, attempt: int) -> None:
        """Remember an attempt that the ledger admitted."""
        self._remember(_key(task), _Executions(attempt))

    def end(self, attempt: AttemptRecord) -> None:
        """Remember how an attempt ended, where that is to be known later."""
        key = _key(attempt.task)
        if attempt.postponed:
            self._remember(key, _Executions(attempt.attempt, _decided(attempt)))
        elif attempt.status.ended:
            self._executions.pop(key, None)
        elif (known := self._executions.get(key)) is not None:
            known.decided = None
            if attempt.status is TaskStatus.QUEUED:
                known.attempt = attempt.attempt - 1  # that execution does not count

    def _admit(self, start: AttemptStart) -> Admission:
        known = self._executions.get(_key(start.task))
        same = known is not None and (start.attempt == known.attempt or not start.counts_itself)
        if known is not None and known.decided is not None and same:
            return Admission(known.attempt, decided=known.decided)
        if start.counts_itself:
            return Admission(start.attempt)
        attempt = 1 if known is None else known.attempt + 1
        self._remember(_key(start.task), _Executions(attempt))
        return Admission(attempt)

    def _remember(self, key: tuple[str, int], executions: _Executions) -> None:
        self._executions.pop(key, None)
        self._executions[key] = executions
        if len(self._executions) > self._capacity:
            self._executions.popitem(last=False)


class OutageProofLog(ExecutionLog):
    """Asks the ledger, and remembers what it says, so that attempts go on counting while it does not answer."""

    def __init__(self, ledger: ExecutionLog) -> None:
        self._ledger = ledger
        self._memory = ExecutionMemory()

    @property
    @override
    def counts_crashes(self) -> bool:
        return self._ledger.counts_crashes

    @override
    async def mark_suspect(self, start: AttemptStart) -> int:
        return await self._ledger.mark_suspect(start)

    @override
    async def start(self, starts: Sequence[AttemptStart]) -> Sequence[Admission]:
        try:
            admissions = await self._ledger.start(starts)
        except LedgerUnavailableError:
            logger.warning("the ledger does not answer: %d tasks start unchecked", len(starts))
            return await self._memory.start(starts)
        for start, admission in zip(starts, admissions, strict=True):
            if not start.counts_itself:
                self._memory.note(start.task, admission.attempt)
        return admissions

    @override
    async def record(self, attempt: AttemptRecord) -> None:
        self._memory.end(attempt)
        await self._ledger.record(attempt)


def _key(task: Task) -> tuple[str, int]:
    return task.id, task.redrive_count


def _decided(attempt: AttemptRecord) -> DecidedEnd:
    return DecidedEnd(
        status=attempt.status,
        error=attempt.error or "",
        started_at=attempt.started_at,
        duration=attempt.duration,
        response_status=attempt.response_status,
        next_at=attempt.next_at,
    )
