"""Whom tasks call: the names of destinations, their limits, and what the end of a call says about them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from mcp_queue.domain.callbacks.addresses import ANYWHERE, check_url
from mcp_queue.domain.callbacks.breaker import BreakerState
from mcp_queue.domain.errors import AttemptTimeoutError, CallbackFailedError, CallbackRejectedError, RefusedAddressError


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a call goes to: ``name`` is the destination's, ``host`` that of its URL."""

    name: str
    host: str


def target_of(url: str, name: str | None = None) -> Target | None:
    """Return the target of ``url``: the destination ``name``, else ``scheme://host:port`` with the port written out.

    ``None`` for a URL that leads nowhere, and so is never called.
    """
    try:
        place = check_url(url, ANYWHERE)  # a URL has its target also where it may not be called
    except RefusedAddressError:
        return None
    host = place.host.removesuffix(".")
    written = f"[{host}]" if ":" in host else host
    return Target(name or f"{place.scheme}://{written}:{place.port}", host)


def origin_of(url: str | None) -> str | None:
    """Return scheme, host and port of ``url``, for those who may not see all of it; ``None`` if it leads nowhere."""
    target = None if url is None else target_of(url)
    return None if target is None else target.name


def canonical_name(written: str) -> str | None:
    """Return the name of the destination that people mean by ``written``: a route's own name, or any URL of it."""
    if "://" not in written:
        return written
    target = target_of(written)
    return None if target is None else target.name


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationLimits:
    """How much of one consumer a destination takes: calls at the same time, and beginning within a second."""

    max_concurrent: int | None = None
    max_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """Limits for the destination ``name``, or for each one at ``host``; ``*.example.com`` is all names below it."""

    limits: DestinationLimits
    name: str | None = None
    host: str | None = None

    def fits(self, target: Target) -> bool:
        """Whether the limits are those of ``target``."""
        if self.host is None:
            return self.name == target.name
        return self.host == target.host or (self.host.startswith("*.") and target.host.endswith(self.host[1:]))


def limits_of(target: Target, rules: Iterable[LimitRule]) -> DestinationLimits:
    """Return the limits of the first rule that fits; rules for one name come before those for hosts."""
    fitting = (rule for rule in sorted(rules, key=lambda rule: rule.name is None) if rule.fits(target))
    rule = next(fitting, None)
    return DestinationLimits() if rule is None else rule.limits


def call_failed(error: BaseException | None) -> bool | None:
    """Whether a call that ended with ``error`` speaks against its destination; ``None`` where it was never made.

    Server errors, 429, time-outs and broken connections do. Every other answer shows that somebody is there: a 4xx
    finds fault with the task, not with the destination.
    """
    match error:
        case None:
            return False
        case CallbackFailedError(response_status=int(status)):
            return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        case CallbackFailedError() | AttemptTimeoutError():
            return True
        case CallbackRejectedError(response_status=int()):
            return False
        case _:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationState:
    """What one consumer sees of a destination.

    ``calls`` and ``failures`` are those of the last 30 s; ``waiting`` is held by the consumer until the destination
    may be called, ``deferred`` counts what was deferred since the consumer began to remember the destination.
    """

    name: str
    state: BreakerState
    calls: int
    failures: int
    open_until: datetime | None
    in_flight: int
    waiting: int
    deferred: int
