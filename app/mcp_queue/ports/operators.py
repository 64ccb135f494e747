"""Stores for what operators switch and see, shared by every process."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from mcp_queue.domain.operators.audit import AuditEntry, DestinationReport, DestinationView
from mcp_queue.domain.task_states import Page
from mcp_queue.ports.queues import PauseSwitch


class QueueMarks(PauseSwitch, Protocol):
    """What holds for a queue in every process: whether it is paused, and when it was purged last."""

    async def begin_purge(self, queue: str, pause: timedelta) -> datetime:
        """Note that a purge begins and return its moment.

        Raises:
            RateLimitedError: the last one began less than ``pause`` ago.

        """
        ...

    async def purge_moments(self) -> Mapping[str, datetime]:
        """Return when each queue was purged last."""
        ...


class AuditLog(Protocol):
    """What operators did."""

    async def append(self, entry: AuditEntry) -> None:
        """Add an entry."""
        ...

    async def list_entries(self, *, limit: int, cursor: str | None = None) -> Page[AuditEntry]:
        """Return entries, the newest first."""
        ...


class Destinations(Protocol):
    """Destinations of callbacks: which are paused, and what each consumer sees of them."""

    async def pause(self, name: str) -> None:
        """Let no consumer call ``name``; idempotent."""
        ...

    async def resume(self, name: str) -> None:
        """Let consumers call ``name`` again; idempotent."""
        ...

    async def paused(self) -> frozenset[str]:
        """Return the names of all paused destinations."""
        ...

    async def publish(self, reports: Sequence[DestinationReport]) -> None:
        """Replace what a consumer told about these destinations before."""
        ...

    async def list_destinations(self, reported_after: datetime) -> Sequence[DestinationView]:
        """Return destinations by name: those reported since, and those paused."""
        ...
