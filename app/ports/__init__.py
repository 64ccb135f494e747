"""What the core needs from outside, as small protocols. Adapters implement them, tests fake them."""

from app.ports.clock import Clock
from app.ports.executions import Admission, AttemptRecord, Execution, ExecutionLog
from app.ports.ledger import HeldTasks, IdempotencyStore, ScheduleStore, TaskStore
from app.ports.letters import DeadLetterStore, NotificationOutbox, RedriveJobs
from app.ports.metrics import DeadLetterMetrics, DestinationMetrics, LedgerMetrics, Metrics
from app.ports.operators import AuditLog, Destinations, QueueMarks
from app.ports.outbound import CallbackRequest, CallbackResponse, CallbackSender, Embedding, EmbeddingClient, Notifier
from app.ports.payloads import PayloadPointer, PayloadStore
from app.ports.queues import MessageMover, PauseSwitch, Queue
from app.ports.tracing import Span, Tracer

__all__ = [
    "Admission",
    "AttemptRecord",
    "AuditLog",
    "CallbackRequest",
    "CallbackResponse",
    "CallbackSender",
    "Clock",
    "DeadLetterMetrics",
    "DeadLetterStore",
    "DestinationMetrics",
    "Destinations",
    "Embedding",
    "EmbeddingClient",
    "Execution",
    "ExecutionLog",
    "HeldTasks",
    "IdempotencyStore",
    "LedgerMetrics",
    "MessageMover",
    "Metrics",
    "NotificationOutbox",
    "Notifier",
    "PauseSwitch",
    "PayloadPointer",
    "PayloadStore",
    "Queue",
    "QueueMarks",
    "RedriveJobs",
    "ScheduleStore",
    "Span",
    "TaskStore",
    "Tracer",
]
