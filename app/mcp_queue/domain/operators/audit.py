"""What operators did, and what they see of the destinations of callbacks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mcp_queue.domain.task import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One action of an operator: ``actor`` is the name of the key, ``count`` how many things it touched."""

    at: datetime
    actor: str
    action: str
    target: str
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationReport:
    """What one consumer sees of one destination. ``state`` is its circuit breaker's."""

    name: str
    consumer: str
    state: str
    reported_at: datetime
    figures: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DestinationView:
    """A destination as operators see it; no report is left where no consumer has told of it lately."""

    name: str
    paused: bool
    reports: tuple[DestinationReport, ...] = ()
