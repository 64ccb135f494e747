"""Defines entries of the audit log, and operators' view of callback destinations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mcp_queue.domain.task import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One action of an operator: ``actor`` is the name of the key, ``count`` the number of affected items."""

    at: datetime
    actor: str
    action: str
    target: str
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationReport:
    """One consumer's report on one destination. ``state`` is that of its circuit breaker."""

    name: str
    consumer: str
    state: str
    reported_at: datetime
    figures: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DestinationView:
    """A destination for operators, with the recent reports of consumers."""

    name: str
    paused: bool
    reports: tuple[DestinationReport, ...] = ()
