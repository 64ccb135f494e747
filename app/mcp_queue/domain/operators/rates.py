"""How many requests a key may make."""

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class RateLimit:
    """``burst`` requests at once, and ``per_second`` more with every second."""

    per_second: float
    burst: int

    @property
    def window(self) -> int:
        """After how many seconds, rounded up, a burst is possible again."""
        return ceil(self.burst / self.per_second)


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left after a request. ``wait`` is 0 where it may pass, else the seconds until one may."""

    limit: RateLimit
    remaining: int
    full_after: float  #: in seconds
    wait: float = 0.0


class TokenBucket:
    """A bucket that holds a burst, loses one token to each request, and fills up with time."""

    def __init__(self, limit: RateLimit, now: float) -> None:
        """Be full; every ``now`` is a monotonic reading in seconds."""
        self.limit = limit
        self._tokens = float(limit.burst)
        self._at = now

    def take(self, now: float) -> Quota:
        """Take a token if there is one."""
        limit = self.limit
        self._tokens = min(limit.burst, self._tokens + (now - self._at) * limit.per_second)
        self._at = now
        wait = 0.0
        if self._tokens >= 1:
            self._tokens -= 1
        else:
            wait = (1 - self._tokens) / limit.per_second
        missing = limit.burst - self._tokens
        return Quota(limit, int(self._tokens), missing / limit.per_second, wait)
