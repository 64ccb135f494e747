"""A circuit breaker: stops calls to a destination that fails, and finds out when it answers again.

Moments are monotonic readings in seconds. They come in as arguments and never step back.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

#: How far back calls count, in seconds; to the second.
WINDOW = 30
#: Fewer calls than these say nothing about a destination.
MIN_CALLS = 20
#: The share of failed calls from which on a destination is left alone.
FAILING_SHARE = 0.5
#: How long it is left alone, in seconds, before one call probes it.
OPEN_TIME = 30.0


class BreakerState(StrEnum):
    """Whether a destination may be called."""

    CLOSED = "closed"
    OPEN = "open"  #: not at all
    HALF_OPEN = "half_open"  #: by one call, to see how it does


@dataclass(slots=True)
class _Second:
    """The calls that ended within one second."""

    begin: int
    calls: int = 0
    failures: int = 0


class CircuitBreaker:
    """Opens where calls fail, lets a single probe through after a while, and closes when that one is answered.

    After that it does not give back everything at once: each answer allows one more call at the same time, so that a
    destination that just came back is not met by all that waited for it.
    """

    def __init__(self) -> None:
        """Start closed."""
        self._seconds: deque[_Second] = deque()
        self._open_until: float | None = None
        # Each opening and closing begins a new epoch. How a call of an earlier one ends says nothing any more.
        self._epoch = 0
        self._under_way = 0
        self._answers: int | None = None  # since it closed again; None once it is trusted

    def state(self, now: float) -> BreakerState:
        """Return the state at ``now``."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    @property
    def open_until(self) -> float | None:
        """When the next probe may be made, which may have passed; ``None`` while it is closed."""
        return self._open_until

    def limit(self, now: float) -> int | None:
        """Return how many calls may be under way at the same time; ``None`` is any number."""
        match self.state(now):
            case BreakerState.OPEN:
                return 0
            case BreakerState.HALF_OPEN:
                return 1
            case _:
                return None if self._answers is None else 1 + self._answers

    def allows(self, now: float) -> bool:
        """Whether one more call may begin."""
        limit = self.limit(now)
        return limit is None or self._under_way < limit

    def counts(self, now: float) -> tuple[int, int]:
        """Return how many calls of the last 30 s count, and how many of them failed."""
        while self._seconds and self._seconds[0].begin <= now - WINDOW:
            self._seconds.popleft()
        return sum(second.calls for second in self._seconds), sum(second.failures for second in self._seconds)

    def begin(self) -> int:
        """Count a call that is allowed and begins; return the ticket to end it with."""
        self._under_way += 1
        return self._epoch

    def end(self, ticket: int, *, failed: bool | None, now: float) -> None:
        """Take in how the call of ``ticket`` ended; ``None``: it said nothing about the destination."""
        if ticket != self._epoch:
            return
        self._under_way -= 1
        if failed is None:
            return
        if self._open_until is None:
            self._count(failed=failed, now=now)
        elif failed:
            self._open(now)
        else:
            self._close()

    def _count(self, *, failed: bool, now: float) -> None:
        if not self._seconds or self._seconds[-1].begin != int(now):
            self._seconds.append(_Second(int(now)))
        self._seconds[-1].calls += 1
        self._seconds[-1].failures += failed
        calls, failures = self.counts(now)
        if calls >= MIN_CALLS and failures >= FAILING_SHARE * calls:
            self._open(now)
        elif self._answers is not None and not failed:
            self._answers = None if self._answers >= MIN_CALLS else self._answers + 1

    def _open(self, now: float) -> None:
        self._open_until = now + OPEN_TIME
        self._answers = None
        self._begin_epoch()

    def _close(self) -> None:
        self._open_until = None
        self._answers = 1
        self._seconds.clear()
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._epoch += 1
        self._under_way = 0
