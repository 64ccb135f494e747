"""What the consumer holds: lanes it polls and deliveries on their way through it."""

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto

from mcp_queue.consumer.call_limits import Permit
from mcp_queue.domain.callbacks.destinations import Target
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.queues import LevelPolicy
from mcp_queue.ports import Queue

#: How long a poll may stay open beyond its wait before its lane counts as stuck.
OVERDUE = timedelta(seconds=30)


class Stop(Enum):
    """Why a delivery must not go on."""

    LEASE_LOST = auto()  #: another consumer may have it: touch the queue no more
    DRAIN = auto()  #: the process ends: give it back
    CANCELED = auto()  #: its task was canceled while it ran


@dataclass(slots=True, eq=False)
class Lane:
    """One pollable queue: a queue of its own, or one level of a priority queue.

    ``wait`` is how long an idle poll stays open. A ``hungry`` lane found as much as it asked for last time: it may
    ask for many at once and over several polls (``width``). One that found nothing asks for a single message, which
    takes no slot from the others while its long poll is open. ``patient_until`` is how long a hungry lane waits for
    its share of slots to grow; ``progress_at`` is when a poll was answered or, with none open, opened. ``deferring``
    counts what is on its way back, to come again later. Moments are monotonic readings in seconds.
    """

    queue: Queue
    wait: timedelta
    level: int = 0
    policy: LevelPolicy = LevelPolicy.STRICT
    polls: int = 0
    asked: int = 0
    held: int = 0
    deferring: int = 0
    hungry: bool = False
    width: int = 1
    paused: bool = False
    failures: int = 0
    blocked_until: float = 0.0
    progress_at: float = 0.0
    patient_until: float | None = None
    credit: float = 0.0

    def stuck(self, now: float) -> bool:
        """Whether receiving makes no progress: its last receive failed, or a poll is open for far too long."""
        overdue = now - self.progress_at > self.wait.total_seconds() + OVERDUE.total_seconds()
        return not self.paused and (self.failures > 0 or (self.polls > 0 and overdue))

    @property
    def name(self) -> str:
        """The public name of the queue."""
        return self.queue.spec.public_name


@dataclass(slots=True, eq=False)
class Work:
    """A delivery from receive to settlement.

    ``followers`` came in the same receive and belong to the same FIFO group: they start one after another, each when
    the backend has confirmed the settlement of the one before.
    ``lease_ends`` and ``extend_at`` are monotonic readings in seconds. While a settling call is under way
    (``settling``), its answer alone says whether the lease still held. ``interruptible`` is true while the handler or
    callback runs, and only then may the runner be cancelled: an outcome that is reached is always settled.
    ``target`` is whom the task calls, ``permit`` its right to do so. While it waits for that without a slot,
    ``waits_until`` is when it is given back at the latest.
    """

    delivery: Delivery
    lane: Lane
    lease: timedelta
    lease_ends: float
    extend_at: float
    followers: "deque[Work]" = field(default_factory=deque)
    stop: Stop | None = None
    settling: bool = False
    interruptible: bool = False
    target: Target | None = None
    permit: Permit | None = None
    waits_until: float | None = None

    @property
    def log_fields(self) -> dict[str, object]:
        """What a log line about this delivery carries."""
        task = self.delivery.task
        if task is None:
            return {"message_id": self.delivery.message_id, "queue": self.lane.name}
        return {"task_id": task.id, "task_type": task.type, "queue": self.lane.name}

    def end_call(self, *, failed: bool | None = None) -> None:
        """Give the right to call back; ``failed`` says whether the call failed its destination, if one was made."""
        if self.permit is not None:
            self.permit.end(failed=failed)

    @property
    def stopped(self) -> bool:
        """Whether it must not begin to run."""
        return self.stop is not None

    @property
    def lost(self) -> bool:
        """Whether the lease is over, so that the queue must not be touched for this delivery any more."""
        return self.stop is Stop.LEASE_LOST
