"""What a consumer remembers of destinations."""

from datetime import timedelta

import pytest

from mcp_queue.consumer.call_limits import LONGEST_TURN, DestinationRegistry, Permit, Refusal, RefusalReason
from mcp_queue.domain.callbacks.breaker import BreakerState
from mcp_queue.domain.callbacks.destinations import DestinationLimits, DestinationState, LimitRule, Target
from mcp_queue.testing import FakeClock
from tests.support.metrics import CountingMetrics

SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


@pytest.fixture
def metrics() -> CountingMetrics:
    """Return what counts."""
    return CountingMetrics()


@pytest.fixture
def registry(clock: FakeClock, metrics: CountingMetrics) -> DestinationRegistry:
    """Return a registry that remembers three destinations."""
    return DestinationRegistry(clock=clock, metrics=metrics, capacity=3)


def target(name: str) -> Target:
    """Return a destination."""
    return Target(name, f"{name}.example")


def fail(registry: DestinationRegistry, name: str, times: int = 20) -> None:
    """Let calls fail."""
    for _ in range(times):
        registry.enter(target(name)).end(failed=True)


def names(registry: DestinationRegistry) -> list[str]:
    """Return what is remembered, the longest unused first."""
    return list(registry._known)


def test_the_destination_called_longest_ago_is_forgotten_first(registry: DestinationRegistry) -> None:
    """Clients name destinations: their number must not grow without end."""
    for name in ("a", "b", "c", "a", "d"):
        registry.enter(target(name)).end(failed=False)

    assert ["c", "a", "d"] == names(registry)


def test_what_is_in_use_is_never_forgotten(registry: DestinationRegistry) -> None:
    """Neither with a call under way nor while a task waits; the next one that fits makes up for it."""
    permit = registry.enter(target("called"))
    registry.wait(target("awaited"), 2)
    for number in range(3):
        registry.enter(target(f"idle{number}")).end()
    assert ["called", "awaited", "idle2"] == names(registry)

    permit.end(failed=False)
    registry.wait(target("awaited"), -2)
    registry.enter(target("new")).end()
    assert ["idle2", "awaited", "new"] == names(registry)


def test_a_forgotten_breaker_no_longer_counts_as_open(registry: DestinationRegistry, metrics: CountingMetrics) -> None:
    """Or the gauge would grow for ever."""
    fail(registry, "a")
    assert ["a"] == metrics.open
    for name in ("b", "c", "d"):
        registry.enter(target(name)).end()

    assert [] == metrics.open
    assert registry.refusal(target("a")) is None


def test_a_permit_ends_once(registry: DestinationRegistry) -> None:
    """The outcome of a call counts when it is known, not again when its slot is freed."""
    permit = registry.enter(target("a"))
    permit.end(failed=True)
    permit.end()

    (state,) = registry.snapshot()
    assert (1, 1, 0) == (state.calls, state.failures, state.in_flight)


async def test_a_rate_limit_holds_over_any_second(clock: FakeClock, metrics: CountingMetrics) -> None:
    """Also one of less than a call a second."""
    rules = [LimitRule(limits=DestinationLimits(max_per_second=rate), name=f"{rate}") for rate in (2.0, 0.25)]
    registry = DestinationRegistry(clock=clock, metrics=metrics, rules=rules)
    begun: dict[str, list[float]] = {"2.0": [], "0.25": []}
    for _ in range(100):
        for name, moments in begun.items():
            while registry.refusal(target(name)) is None:
                registry.enter(target(name)).end(failed=False)
                moments.append(clock.monotonic())
        await clock.advance(SECOND / 10)

    assert [0.0, 0.0, 1.0, 1.0, 2.0, 2.0] == begun["2.0"][:6]
    assert [0.0, 4.0, 8.0] == begun["0.25"]
    assert registry.refusal(target("0.25")) == Refusal(RefusalReason.LIMIT, 12.0)


async def test_turns_follow_the_pace_of_the_destination(clock: FakeClock, metrics: CountingMetrics) -> None:
    """Two calls at a time that take four seconds each: one may begin every two seconds."""
    rules = [LimitRule(limits=DestinationLimits(max_concurrent=2), name="a")]
    registry = DestinationRegistry(clock=clock, metrics=metrics, rules=rules)
    assert [0.0, 0.0] == [registry.defer(target("a"), Refusal(RefusalReason.LIMIT)) for _ in range(2)]
    permit = registry.enter(target("a"))
    await clock.advance(4 * SECOND)
    permit.end(failed=False)

    turns = [registry.defer(target("a"), Refusal(RefusalReason.LIMIT)) for _ in range(1000)]
    assert [2.0, 4.0, 6.0] == turns[:3]
    assert LONGEST_TURN == turns[-1]

    permit = registry.enter(target("a"))
    await clock.advance(9 * SECOND)
    permit.end(failed=False)
    assert 2.5 == registry.pace(target("a"))


def test_a_snapshot_shows_what_is_called_waited_for_or_not_trusted(
    registry: DestinationRegistry, clock: FakeClock
) -> None:
    """A destination that was forgotten about by its tasks is left out."""
    fail(registry, "broken")
    registry.defer(target("broken"), Refusal(RefusalReason.BREAKER, 30.0))
    registry.wait(target("broken"), 4)
    registry.defer(target("idle"), Refusal(RefusalReason.PAUSED))
    permits = [registry.enter(target("busy")) for _ in range(2)]
    permits[0].end(failed=False)

    assert [
        DestinationState(
            name="broken",
            state=BreakerState.OPEN,
            calls=20,
            failures=20,
            open_until=clock.now() + 30 * SECOND,
            in_flight=0,
            waiting=4,
            deferred=1,
        ),
        DestinationState(
            name="busy",
            state=BreakerState.CLOSED,
            calls=1,
            failures=0,
            open_until=None,
            in_flight=1,
            waiting=0,
            deferred=0,
        ),
    ] == registry.snapshot()


def test_whoever_waits_is_told_what_may_have_become_free(registry: DestinationRegistry) -> None:
    """The destination whose call ended, and any when pauses changed; not when they did not."""
    told: list[str | None] = []
    registry.on_change(told.append)
    registry.enter(target("a")).end(failed=False)
    registry.set_paused(frozenset({"a"}))
    registry.set_paused(frozenset({"a"}))
    assert registry.refusal(target("a")) == Refusal(RefusalReason.PAUSED)
    registry.set_paused(frozenset())

    assert ["a", None, None] == told


def test_a_registry_that_nobody_listens_to_works(registry: DestinationRegistry) -> None:
    """Permits are told nothing of the pool."""
    assert isinstance(registry.enter(target("a")), Permit)
    registry.set_paused(frozenset({"a"}))
