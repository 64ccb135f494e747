"""Keeps what the consumer knows of a queue that it polls."""

from dataclasses import dataclass
from datetime import timedelta

from mcp_queue.domain.queues import LevelPolicy
from mcp_queue.ports import Queue

#: How long a poll may stay open beyond its wait before its queue counts as stuck.
OVERDUE = timedelta(seconds=30)
#: Most polls of one queue that are open together; at 10 messages and 20 ms each they bring 4,000 messages a second.
MAX_POLLS = 8


@dataclass(slots=True, eq=False)
class PolledQueue:
    """One queue that is polled: a queue of its own, or one level of a priority queue.

    ``wait`` is how long an idle poll stays open. A ``productive`` queue had messages last time: it may be asked for
    many at once and by several polls (up to ``max_polls``). One that had none is asked for a single message, which
    takes no slot from the others while its long poll is open. ``linger_until`` is how long a productive queue waits for
    its share of slots to grow; ``progress_at`` is when a poll was answered or, with none open, opened.
    ``open_polls`` ask for ``asked`` messages in sum; ``held`` counts what waits here for a slot, ``deferring`` what is
    on its way back, to come again later, and ``stalled`` what the queue is slow to settle. Moments are monotonic
    readings in seconds.
    """

    queue: Queue
    wait: timedelta
    level: int = 0
    policy: LevelPolicy = LevelPolicy.STRICT
    open_polls: int = 0
    asked: int = 0
    held: int = 0
    deferring: int = 0
    stalled: int = 0
    productive: bool = False
    max_polls: int = 1
    paused: bool = False
    failures: int = 0
    blocked_until: float = 0.0
    progress_at: float = 0.0
    linger_until: float | None = None
    credit: int = 0

    @property
    def name(self) -> str:
        """The public name of the queue."""
        return self.queue.spec.public_name

    def stuck(self, now: float) -> bool:
        """Whether receiving makes no progress: its last receive failed, or a poll is open for far too long."""
        overdue = now - self.progress_at > self.wait.total_seconds() + OVERDUE.total_seconds()
        return not self.paused and (self.failures > 0 or (self.open_polls > 0 and overdue))

    def opened(self, limit: int, now: float) -> None:
        """Count a poll for up to ``limit`` messages."""
        if not self.open_polls:
            self.progress_at = now
        self.linger_until = None
        self.open_polls += 1
        self.asked += limit

    def answered(self, limit: int, found: int, now: float) -> None:
        """Count the answer to a poll for ``limit`` messages: ``found`` came."""
        self._closed(limit)
        self.progress_at = now
        self.failures = 0
        if found == limit:
            self.max_polls = min(self.max_polls + 1, MAX_POLLS) if self.productive else 1
        elif not found:
            self.max_polls = 1
        self.productive = found > 0

    def failed(self, limit: int, blocked_until: float) -> None:
        """Count a poll for ``limit`` messages that failed: it is no progress, and no other is opened for a while."""
        self._closed(limit)
        self.failures += 1
        self.blocked_until = blocked_until
        self.max_polls = 1
        self.productive = False

    def _closed(self, limit: int) -> None:
        self.open_polls -= 1
        self.asked -= limit
