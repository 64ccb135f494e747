"""Limits the request rate of a key with a token bucket."""

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Allows ``burst`` requests at once, and ``per_second`` more each second."""

    per_second: float
    burst: int

    @property
    def window(self) -> int:
        """Seconds until a full burst is possible again, rounded up."""
        return ceil(self.burst / self.per_second)


@dataclass(frozen=True, slots=True)
class Quota:
    """The state after a request. ``wait`` is 0 if it may pass, else the seconds until the next one may."""

    limit: RateLimit
    remaining: int
    full_after: float  #: seconds until a full burst is possible
    wait: float = 0.0


class TokenBucket:
    """Holds up to ``burst`` tokens; each request takes one, and time refills them."""

    def __init__(self, limit: RateLimit, now: float) -> None:
        """Start full; every ``now`` is a monotonic reading in seconds."""
        self.limit = limit
        self._tokens = float(limit.burst)
        self._at = now

    def take(self, now: float) -> Quota:
        """Take a token, if any is left."""
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
