"""Decides which destinations may be called now, by their breakers, limits and pauses as this consumer sees them."""

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial
from itertools import islice
from math import ceil, inf

from mcp_queue.domain.callbacks.breaker import BreakerState, CircuitBreaker
from mcp_queue.domain.callbacks.destinations import DestinationLimits, DestinationState, LimitRule, Target, limits_of
from mcp_queue.ports import Clock, DestinationMetrics

logger = logging.getLogger(__name__)

#: How many destinations are remembered. Clients name them: beyond these the one called longest ago is forgotten.
CAPACITY = 1000
#: How long a task of a paused destination is deferred, in seconds.
PAUSED_DEFERRAL = 30.0
#: Farthest turn that a task is deferred to, in seconds: longer, and a destination that grew quicker would stand idle.
LONGEST_TURN = 300.0
# The weight of the latest call in the usual duration of a destination's calls.
_LATEST = 0.2


class RefusalReason(StrEnum):
    """Why a destination may not be called at the moment."""

    PAUSED = "paused"
    BREAKER = "breaker"  #: it is open
    PROBE = "probe"  #: one call is to show how the destination does
    LIMIT = "limit"  #: of concurrent calls, or of calls a second


@dataclass(frozen=True, slots=True)
class Refusal:
    """A destination may not be called before ``again_at``, a monotonic reading; infinity is until further notice."""

    reason: RefusalReason
    again_at: float = inf

    @property
    def brief(self) -> bool:
        """Whether it may be over in moments, so that waiting costs less than coming back."""
        return self.reason in {RefusalReason.PROBE, RefusalReason.LIMIT}


@dataclass(slots=True, eq=False)
class _Destination:
    """``begun`` are the latest calls' moments, where their rate is limited; ``turn`` is the one given out last.

    ``usual`` is how long a call takes, in seconds; 0 while that is not known.
    """

    target: Target
    limits: DestinationLimits
    begun: deque[float]
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    in_flight: int = 0
    deferred: int = 0
    usual: float = 0.0
    turn: float = 0.0

    def refusal(self, now: float) -> Refusal | None:
        open_until = self.breaker.open_until
        if open_until is not None and now < open_until:
            return Refusal(RefusalReason.BREAKER, open_until)
        if not self.breaker.allows(now):
            return Refusal(RefusalReason.LIMIT if open_until is None else RefusalReason.PROBE)
        if self.limits.max_concurrent is not None and self.in_flight >= self.limits.max_concurrent:
            return Refusal(RefusalReason.LIMIT)
        if self.limits.max_per_second is not None and len(self.begun) == self.begun.maxlen:
            again_at = self.begun[0] + len(self.begun) / self.limits.max_per_second
            return Refusal(RefusalReason.LIMIT, again_at) if now < again_at else None
        return None

    def pace(self, now: float) -> float:
        """Return after how many seconds, on average, one call more may begin."""
        concurrent = [limit for limit in (self.limits.max_concurrent, self.breaker.limit(now)) if limit]
        by_rate = 1 / self.limits.max_per_second if self.limits.max_per_second else 0.0
        return max(by_rate, self.usual / min(concurrent) if concurrent else 0.0)


class Permit:
    """The right to make one call, until it is ended."""

    def __init__(self, ended: Callable[..., None]) -> None:
        """Have ``ended`` told, as ``failed``, how the call ended."""
        self._ended: Callable[..., None] | None = ended

    def end(self, *, failed: bool | None = None) -> None:
        """Say whether the call failed its destination, ``None`` where it was not made. Only the first end counts."""
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(failed=failed)


class DestinationRegistry:
    """Remembers how calls to each destination ended, and says who may be called."""

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: DestinationMetrics,
        rules: Sequence[LimitRule] = (),
        capacity: int = CAPACITY,
    ) -> None:
        """Keep to the limits in ``rules``; remember ``capacity`` destinations and those that are in use."""
        self._clock = clock
        self._metrics = metrics
        self._rules = rules
        self._capacity = capacity
        self._known: OrderedDict[str, _Destination] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._paused: frozenset[str] = frozenset()
        self._on_change: Callable[[str | None], None] = _ignore

    def on_change(self, listener: Callable[[str | None], None]) -> None:
        """Tell ``listener`` which destination may have become free; ``None`` is any."""
        self._on_change = listener

    def set_paused(self, names: frozenset[str]) -> None:
        """Let nobody call the destinations of these names; all others may be called as far as they allow."""
        if names != self._paused:
            self._paused = names
            self._on_change(None)

    def refusal(self, target: Target) -> Refusal | None:
        """Return why ``target`` may not be called now; ``None`` where it may."""
        if target.name in self._paused:
            return Refusal(RefusalReason.PAUSED)
        known = self._known.get(target.name)
        return None if known is None else known.refusal(self._clock.monotonic())

    def enter(self, target: Target) -> Permit:
        """Begin a call to a target that may be called now."""
        destination = self._remembered(target)
        begun_at = self._clock.monotonic()
        destination.in_flight += 1
        destination.begun.append(begun_at)
        return Permit(partial(self._end, destination, destination.breaker.begin(), begun_at))

    def defer(self, target: Target, refusal: Refusal) -> float:
        """Count a deferral; return after how many seconds the task should come back.

        Tasks that are too many for a limit get turns one after another, at the pace of the destination: they would
        only be deferred again if they came back together.
        """
        now, destination = self._clock.monotonic(), self._remembered(target)
        destination.deferred += 1
        self._metrics.deferred(target.name, refusal.reason)
        match refusal.reason:
            case RefusalReason.PAUSED:
                return PAUSED_DEFERRAL
            case RefusalReason.LIMIT:
                turn = max(destination.turn, now) + destination.pace(now)
                destination.turn = min(turn, now + LONGEST_TURN)
                return destination.turn - now
            case RefusalReason.BREAKER:
                return refusal.again_at - now
            case _:
                return 0.0

    def pace(self, target: Target) -> float:
        """Return after how many seconds, on average, the limits of ``target`` let one call more begin."""
        return self._remembered(target).pace(self._clock.monotonic())

    def wait(self, target: Target, count: int) -> None:
        """Remember ``target`` while tasks wait for it: ``count`` more of them, or fewer."""
        self._remembered(target)
        self._waiting[target.name] += count
        if not self._waiting[target.name]:
            del self._waiting[target.name]

    def snapshot(self) -> list[DestinationState]:
        """Return the destinations that are called, waited for, or not trusted."""
        now = self._clock.monotonic()
        states = (self._state(destination, now) for destination in self._known.values())
        return [
            state
            for state in states
            if state.state is not BreakerState.CLOSED or state.calls or state.in_flight or state.waiting
        ]

    def _state(self, destination: _Destination, now: float) -> DestinationState:
        breaker, name = destination.breaker, destination.target.name
        calls, failures = breaker.counts(now)
        until = breaker.open_until
        return DestinationState(
            name=name,
            state=breaker.state(now),
            calls=calls,
            failures=failures,
            open_until=None if until is None else self._clock.now() + timedelta(seconds=until - now),
            in_flight=destination.in_flight,
            waiting=self._waiting[name],
            deferred=destination.deferred,
        )

    def _remembered(self, target: Target) -> _Destination:
        destination = self._known.get(target.name)
        if destination is None:
            self._forget_idle()
            limits = limits_of(target, self._rules)
            begun = deque[float](maxlen=ceil(limits.max_per_second) if limits.max_per_second else 0)
            destination = self._known[target.name] = _Destination(target, limits, begun)
        self._known.move_to_end(target.name)
        return destination

    def _forget_idle(self) -> None:
        excess = len(self._known) + 1 - self._capacity
        idle = (name for name, known in self._known.items() if not known.in_flight and name not in self._waiting)
        for name in list(islice(idle, max(excess, 0))):
            if self._known.pop(name).breaker.open_until is not None:
                self._metrics.breaker_closed(name)

    def _end(self, destination: _Destination, ticket: int, begun_at: float, *, failed: bool | None) -> None:
        name, breaker, now = destination.target.name, destination.breaker, self._clock.monotonic()
        was_closed = breaker.open_until is None
        destination.in_flight -= 1
        breaker.end(ticket, failed=failed, now=now)
        if failed is False:
            took = now - begun_at
            destination.usual += _LATEST * (took - destination.usual) if destination.usual else took
        if was_closed and breaker.open_until is not None:
            logger.warning("calls to %s are stopped: %d of %d failed", name, *reversed(breaker.counts(now)))
            self._metrics.breaker_opened(name)
        elif not was_closed and breaker.open_until is None:
            logger.info("%s answers again", name)
            self._metrics.breaker_closed(name)
        self._on_change(name)


def _ignore(_name: str | None) -> None:
    """Nothing waits before the pool runs."""
