"""Queues as data: their configuration, what their backend can do, and their counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

#: Time limits of SQS, which the embedded queue keeps too, so that a queue can move between them.
MIN_LEASE = timedelta(seconds=5)
MAX_LEASE = timedelta(hours=12)
MAX_SQS_DELAY = timedelta(seconds=900)
DEDUPLICATION_WINDOW = timedelta(minutes=5)
#: The highest count that a redrive policy of SQS takes.
MAX_SQS_RECEIVES = 1000
#: How many receives beyond ``max_receive_count`` a backend lets pass before it dead-letters a message by itself: it
#: counts every receive, those included that another task's crash cost.
RECEIVES_HEADROOM = 7
#: How many crashes of one task a FIFO queue takes, whose ``max_receive_count`` counts its waits too.
FIFO_CRASHES = 3
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
    def backend_receives(self) -> int:
        """How many receives of one message the backend lets pass before it dead-letters it by itself."""
        return min(self.max_receive_count + RECEIVES_HEADROOM, MAX_SQS_RECEIVES)

    @property
    def max_crashes(self) -> int:
        """How many crashes of its process are counted against a task before it is dead-lettered."""
        return min(self.max_receive_count, FIFO_CRASHES) if self.fifo else self.max_receive_count

    @property
    def fifo(self) -> bool:
        """Whether groups are kept in order."""
        return self.kind is QueueKind.FIFO

    def group_of(self, group: str | None) -> str | None:
        """Return the group that a task of ``group`` joins here; on a FIFO queue every task is in one."""
        return (group or self.message_group_id or "default") if self.fifo else group


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTraits:
    """What the backend of one queue does by itself. The defaults are those of an exact queue with a redrive policy.

    ``rewrites``: a delivery that is retried or deferred comes back as the task that was given, so that ``retry_count``
    travels in the message. SQS FIFO queues cannot: there the old body comes back.
    ``leaves_stale_copies``: a crash while it reschedules or dead-letters can leave the old message beside the new one.
    Where that is one transaction, a message that the ledger takes for an older one comes from a restored backup.
    ``max_delay``: the longest delay it holds; ``None`` is any, zero none at all.
    ``reports_duplicates``: ``Accepted.duplicate_of`` names the first task where FIFO deduplication drops a second one.
    ``deduplicates_by_group``: a FIFO deduplication id counts within its group alone.
    ``purge_time``: how long after a purge it may still drop what arrives, and refuses another purge.
    ``full_receive_wait``: a receive that waits for less may return nothing although messages are visible.
    ``moves_all_back``: it moves the messages of a dead-letter queue back by itself, all of them, whatever their source.
    ``counts_by_source``: where queues share a dead-letter queue, it counts the dead letters of each.
    """

    rewrites: bool = True
    leaves_stale_copies: bool = False
    max_delay: timedelta | None = None
    reports_duplicates: bool = True
    deduplicates_by_group: bool = False
    purge_time: timedelta = timedelta(0)
    full_receive_wait: timedelta = timedelta(0)
    moves_all_back: bool = False
    counts_by_source: bool = True


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
