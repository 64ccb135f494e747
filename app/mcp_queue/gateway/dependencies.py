"""What the gateway needs from outside, and the limits of its requests."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from mcp_queue.gateway.resources.service.readiness import GatewayReadiness
from mcp_queue.gateway.server.auth import Authenticator
from mcp_queue.ports import Clock
from mcp_queue.services.dead_letters.interface import DeadLetters
from mcp_queue.services.operators.audit import Auditor
from mcp_queue.services.operators.destinations import DestinationSwitches
from mcp_queue.services.operators.task_records import TaskRecords
from mcp_queue.services.queues.manager import QueueManager
from mcp_queue.services.schedules.schedules import Schedules

MEBIBYTE = 1024 * 1024
# Bytes that the body of a request may have besides its task.
_ENVELOPE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Limits of requests. Sizes are in bytes.

    ``max_in_work`` limits the requests whose body is complete, ``max_receiving`` those whose body is still coming in.
    A body has to be complete within ``body_timeout``. ``max_buffered_bytes`` limits the memory of all bodies over
    16 KiB together, and ``max_working_bytes`` what working on all requests takes besides; who waits for that longer
    than ``body_timeout`` is refused.
    """

    max_task_bytes: int = MEBIBYTE
    max_request_bytes: int = 16 * MEBIBYTE
    max_in_work: int = 1000
    max_receiving: int = 1000
    max_buffered_bytes: int = 96 * MEBIBYTE
    max_working_bytes: int = 160 * MEBIBYTE
    body_timeout: timedelta = timedelta(seconds=30)

    @property
    def max_task_text(self) -> int:
        """How many bytes the text of one task may have."""
        return self.max_task_bytes + _ENVELOPE

    def body_limit(self, path: str) -> int:
        """Return how many bytes the body of a request to ``path`` may have."""
        return self.max_request_bytes if path.endswith("/batch") else self.max_task_text


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDependencies:
    """Everything that the gateway needs from outside.

    ``observe_request`` gets method, route, status and seconds of each request; the route is ``None`` if there is none.
    ``render_metrics`` returns the metrics of all worker processes, and their content type. ``new_trace_id`` returns the
    id of the current trace, or a new one, as 32 hexadecimal digits. ``give_back_memory`` returns to the system what the
    process has freed.
    """

    manager: QueueManager
    records: TaskRecords
    scheduling: Schedules
    dead_letters: DeadLetters
    destinations: DestinationSwitches
    auditor: Auditor
    readiness: GatewayReadiness
    clock: Clock
    observe_request: Callable[[str, str | None, int, float], None]
    render_metrics: Callable[[], tuple[bytes, str]]
    new_trace_id: Callable[[], str]
    version: str
    give_back_memory: Callable[[], None] = lambda: None
    limits: RequestLimits = field(default_factory=RequestLimits)
    authenticator: Authenticator = field(default_factory=Authenticator)
