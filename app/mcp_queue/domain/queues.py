"""Queues as data: what is configured, what a backend can do, and what is seen in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

#: Time limits of SQS, which the embedded queue keeps too, so that a queue can move between them.
MIN_LEASE = timedelta(seconds=5)
MAX_LEASE = timedelta(hours=12)
MAX_SQS_DELAY = timedelta(seconds=900)
DEDUPLICATION_WINDOW = timedelta(minutes=5)
#: How many receives one attempt may take on a FIFO queue, where each wait of a group's head is a receive of the whole
#: group.
FIFO_RECEIVES_PER_ATTEMPT = 10


class QueueKind(StrEnum):
    """How a queue orders what it holds."""

    STANDARD = "standard"
    FIFO = "fifo"
    PRIORITY = "priority"


class Backend(StrEnum):
    """Where a queue's messages lie."""

    SQS = "sqs"
    SQLITE = "sqlite"
    MEMORY = "memory"


class FailurePolicy(StrEnum):
    """What a FIFO group does while its head fails."""

    BLOCK = "block"  #: retries hold the group; exhausted, the head is dead-lettered and the group goes on
    SKIP = "skip"  #: the first failure dead-letters the head and the group goes on


class LevelPolicy(StrEnum):
    """How a priority queue shares slots among its levels."""

    STRICT = "strict"  #: always the highest level that has something
    WEIGHTED = "weighted"  #: higher levels more often, no level never


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """One queue as it is configured, every default resolved.

    ``public_name`` is the name clients use: of a level, its priority queue's; else ``name``.
    ``max_depth`` counts every message that lies in the queue, running ones included; ``None`` is no limit.
    ``levels`` maps a priority to the name of the queue that holds it, on priority queues only. ``url``, on SQS only,
    is a queue URL, an ARN or a queue name; ``payload_bucket`` takes what is too large for SQS; ``cloudwatch_age``
    lets the age of the oldest message be asked of CloudWatch.
    """

    name: str
    kind: QueueKind
    backend: Backend
    public_name: str = ""
    dead_letter_queue: str | None = None
    visibility_timeout: timedelta = timedelta(seconds=300)
    max_receive_count: int = 3
    max_retries: int = 3
    max_depth: int | None = None
    max_task_bytes: int = 1024 * 1024
    message_group_id: str | None = None
    failure_policy: FailurePolicy = FailurePolicy.BLOCK
    levels: Mapping[int, str] = field(default_factory=dict)
    level_policy: LevelPolicy = LevelPolicy.STRICT
    url: str | None = None
    payload_bucket: str | None = None
    cloudwatch_age: bool = False

    def __post_init__(self) -> None:
        """Make a queue that is no level of another known by its own name."""
        if not self.public_name:
            object.__setattr__(self, "public_name", self.name)

    @property
    def fifo(self) -> bool:
        """Whether groups are kept in order."""
        return self.kind is QueueKind.FIFO

    def group_of(self, group: str | None) -> str | None:
        """Return the group that a task of ``group`` joins here; on a FIFO queue every task is in one."""
        return (group or self.message_group_id or "default") if self.fifo else group


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTraits:
    """What the backend of one queue does by itself.

    ``rewrites``: a rescheduled delivery comes back as the task it was rescheduled with, so that ``retry_count``
    travels in the message. SQS FIFO queues cannot: there the old body comes back.
    ``backend_redrives``: the backend moves a message over ``max_receive_count`` to the dead-letter queue itself.
    ``max_delay``: the longest delay it holds; ``None`` is any, zero none at all.
    """

    rewrites: bool = True
    backend_redrives: bool = True
    max_delay: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """What lies in a queue. Counts are approximate on SQS; an age that is not known is ``None``, never zero."""

    queue_name: str
    approximate_messages: int
    inflight_messages: int
    delayed_messages: int
    oldest_message_age: timedelta | None = None
    dead_letters: int | None = None
    paused: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


def fifo_receives_needed(max_retries: int) -> int:
    """Return the ``max_receive_count`` under which a FIFO queue may dead-letter tasks that have attempts left."""
    return FIFO_RECEIVES_PER_ATTEMPT * (max_retries + 1)


def fifo_retries_within(max_receive_count: int) -> int:
    """Return the most retries for which ``max_receive_count`` is enough on a FIFO queue."""
    return max_receive_count // FIFO_RECEIVES_PER_ATTEMPT - 1


def lease_of(queue_timeout: timedelta, task_timeout: timedelta | None) -> timedelta:
    """Return how long one lease lasts: the smaller of the queue's timeout and the task's, of at least 5 s."""
    if task_timeout is None:
        return queue_timeout
    return min(queue_timeout, max(task_timeout, MIN_LEASE))
