"""What the gateway is made of, and how much it takes on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from prometheus_client import CollectorRegistry

from mcp_queue.gateway.resources.service.readiness import GatewayReadiness
from mcp_queue.gateway.server.auth import Door
from mcp_queue.ports import Clock
from mcp_queue.services.dead_letters.interface import DeadLetters
from mcp_queue.services.operators.audit import Auditor
from mcp_queue.services.operators.destinations import DestinationSwitches
from mcp_queue.services.operators.task_records import TaskRecords
from mcp_queue.services.queues.manager import QueueManager
from mcp_queue.services.schedules.schedules import Schedules

MEBIBYTE = 1024 * 1024
# What a request with one task may have beyond the task itself.
_ENVELOPE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes are in bytes.

    ``max_in_work`` counts requests whose body is complete, ``max_receiving`` those whose body is still coming in,
    for which each has ``body_timeout``. ``max_buffered_bytes`` bounds what bodies over 64 KiB hold in memory together.
    """

    max_task_bytes: int = MEBIBYTE
    max_request_bytes: int = 16 * MEBIBYTE
    max_in_work: int = 1000
    max_receiving: int = 1000
    max_buffered_bytes: int = 256 * MEBIBYTE
    body_timeout: timedelta = timedelta(seconds=30)

    def body_limit(self, path: str) -> int:
        """Return how long the body of a request to ``path`` may be."""
        return self.max_request_bytes if path.endswith("/batch") else self.max_task_bytes + _ENVELOPE


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDependencies:
    """Everything the gateway gets from outside.

    ``registry`` takes the HTTP metrics. ``render_metrics`` returns every metric, of all worker processes, as
    Prometheus text. ``new_trace_id`` returns the id of the trace under way, or a new one, as 32 hexadecimal digits.
    """

    manager: QueueManager
    records: TaskRecords
    scheduling: Schedules
    dead_letters: DeadLetters
    destinations: DestinationSwitches
    auditor: Auditor
    readiness: GatewayReadiness
    clock: Clock
    registry: CollectorRegistry
    render_metrics: Callable[[], bytes]
    new_trace_id: Callable[[], str]
    version: str
    limits: Limits = field(default_factory=Limits)
    door: Door = field(default_factory=Door)
