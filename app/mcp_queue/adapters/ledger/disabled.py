"""Stands in for the ledger where none is configured: it refuses what only a ledger can do, and says why."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NoReturn, cast

from mcp_queue.domain.errors import LedgerDisabledError
from mcp_queue.domain.operators.audit import AuditEntry, DestinationReport
from mcp_queue.ports import AuditLog, Clock, Destinations, ExecutionLog, QueueMarks, ScheduleStore, TaskStore
from mcp_queue.services.execution.attempt_memory import ExecutionMemory


class NoLedger:
    """The stores of a process without a ledger."""

    def __init__(self, clock: Clock) -> None:
        """Tell the moments of purges by ``clock``."""
        self.tasks = cast(
            "TaskStore", _NoTasks("nothing remembers tasks: that needs the ledger, and none is configured")
        )
        self.executions: ExecutionLog = ExecutionMemory()
        self.schedules = cast("ScheduleStore", _Refusal("schedules need the ledger, and none is configured"))
        self.queues = cast("QueueMarks", _OwnMarks(clock))
        self.destinations = cast(
            "Destinations", _NoDestinations("destinations are shared by the ledger, and none is configured")
        )
        self.audit = cast("AuditLog", _NoAudit("the audit log needs the ledger, and none is configured"))


class _Refusal:
    """A store all of whose methods raise ``LedgerDisabledError``, but for those that a subclass has."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> Callable[..., Awaitable[NoReturn]]:
        return self._refuse

    async def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise LedgerDisabledError(self._reason)


class _NoTasks(_Refusal):
    async def cancel_waiting(self, queue: str, created_before: datetime) -> int:  # noqa: ARG002  # those of the port
        return 0

    async def cancel_requests(self, task_ids: Collection[str]) -> frozenset[str]:  # noqa: ARG002  # those of the port
        return frozenset()

    async def oldest_waiting(self, queue: str) -> None:
        """Know nothing."""


class _OwnMarks:
    """The marks of this process alone: no other one would learn of a pause."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._purged: dict[str, datetime] = {}

    async def pause(self, queue: str) -> None:
        message = f"nothing remembers whether {queue!r} is paused: that needs the ledger, and none is configured"
        raise LedgerDisabledError(message)

    resume = pause

    async def paused(self) -> frozenset[str]:
        return frozenset()

    async def begin_purge(self, queue: str, pause: timedelta) -> datetime:  # noqa: ARG002  # ``Purges`` keeps to it
        self._purged[queue] = self._clock.now()
        return self._purged[queue]

    async def purge_moments(self) -> Mapping[str, datetime]:
        return self._purged


class _NoDestinations(_Refusal):
    async def paused(self) -> frozenset[str]:
        return frozenset()

    async def publish(self, reports: Sequence[DestinationReport]) -> None:
        """Drop them."""


class _NoAudit(_Refusal):
    async def append(self, entry: AuditEntry) -> None:
        """Leave it to the log."""
