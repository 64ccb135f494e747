"""What services need from outside, as small protocols. Adapters implement them, and the wiring chooses one for each."""

from mcp_queue.ports.callbacks import (
    CallbackRequest,
    CallbackResponse,
    CallbackSender,
    Embedding,
    EmbeddingClient,
    Notifier,
)
from mcp_queue.ports.clock import Clock
from mcp_queue.ports.dead_letters import DeadLetterStore, NotificationOutbox, RedriveStore
from mcp_queue.ports.execution import Admission, AttemptRecord, AttemptStart, DecidedEnd, ExecutionLog
from mcp_queue.ports.metrics import DeadLetterMetrics, DestinationMetrics, LedgerMetrics, Metrics
from mcp_queue.ports.operators import AuditLog, Destinations, QueueMarks
from mcp_queue.ports.payloads import PayloadPointer, PayloadStore
from mcp_queue.ports.queues import DeadLetterSink, MessageBrowser, MessageMover, PauseSwitch, Queue
from mcp_queue.ports.tasks import HeldTasks, IdempotencyStore, ScheduleStore, TaskStore
from mcp_queue.ports.tracing import Span, Tracer

__all__ = [
    "Admission",
    "AttemptRecord",
    "AttemptStart",
    "AuditLog",
    "CallbackRequest",
    "CallbackResponse",
    "CallbackSender",
    "Clock",
    "DeadLetterMetrics",
    "DeadLetterSink",
    "DeadLetterStore",
    "DecidedEnd",
    "DestinationMetrics",
    "Destinations",
    "Embedding",
    "EmbeddingClient",
    "ExecutionLog",
    "HeldTasks",
    "IdempotencyStore",
    "LedgerMetrics",
    "MessageBrowser",
    "MessageMover",
    "Metrics",
    "NotificationOutbox",
    "Notifier",
    "PauseSwitch",
    "PayloadPointer",
    "PayloadStore",
    "Queue",
    "QueueMarks",
    "RedriveStore",
    "ScheduleStore",
    "Span",
    "TaskStore",
    "Tracer",
]
