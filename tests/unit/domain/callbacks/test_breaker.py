"""When calls to a destination stop, and how they begin again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcp_queue.domain.callbacks.breaker import FAILING_SHARE, MIN_CALLS, OPEN_TIME, WINDOW, BreakerState, CircuitBreaker


def call(breaker: CircuitBreaker, now: float, *, failed: bool | None) -> None:
    """Make one call that takes no time."""
    breaker.end(breaker.begin(), failed=failed, now=now)


def opened(at: float = 0.0) -> CircuitBreaker:
    """Return a breaker that has just opened."""
    breaker = CircuitBreaker()
    for _ in range(MIN_CALLS):
        call(breaker, at, failed=True)
    return breaker


@pytest.mark.parametrize(
    ("failures", "successes", "expected"),
    [
        (20, 0, BreakerState.OPEN),
        (10, 10, BreakerState.OPEN),
        (19, 0, BreakerState.CLOSED),  # too few to tell
        (9, 11, BreakerState.CLOSED),  # under a half
        (0, 1000, BreakerState.CLOSED),
    ],
)
def test_it_opens_when_half_of_at_least_twenty_calls_failed(
    failures: int, successes: int, expected: BreakerState
) -> None:
    """Both have to be: enough calls, and enough of them failed."""
    breaker = CircuitBreaker()
    for failed in [False] * successes + [True] * failures:
        call(breaker, 5.0, failed=failed)

    assert expected is breaker.state(5.0)


def test_calls_older_than_thirty_seconds_do_not_count() -> None:
    """Failures of yesterday open nothing today."""
    breaker = CircuitBreaker()
    for _ in range(19):
        call(breaker, 0.0, failed=True)
    call(breaker, 31.0, failed=True)

    assert (BreakerState.CLOSED, (1, 1)) == (breaker.state(31.0), breaker.counts(31.0))


def test_a_call_that_was_not_made_does_not_count() -> None:
    """It says nothing about the destination."""
    breaker = CircuitBreaker()
    for _ in range(100):
        call(breaker, 0.0, failed=None)

    assert (0, 0) == breaker.counts(0.0)
    assert breaker.allows(0.0)


def test_it_lets_one_probe_through_after_thirty_seconds() -> None:
    """Before that nobody calls, and nobody beside the probe."""
    breaker = opened(at=0.0)

    assert (BreakerState.OPEN, False) == (breaker.state(29.9), breaker.allows(29.9))
    assert (BreakerState.HALF_OPEN, True) == (breaker.state(30.0), breaker.allows(30.0))
    breaker.begin()
    assert not breaker.allows(1000.0)


def test_a_probe_that_fails_opens_it_again() -> None:
    """For another thirty seconds, from the moment of the failure."""
    breaker = opened(at=0.0)

    call(breaker, 40.0, failed=True)

    assert (70.0, False, True) == (breaker.open_until, breaker.allows(69.9), breaker.allows(70.0))


def test_a_probe_that_was_not_made_leaves_its_place_to_another() -> None:
    """A canceled task must not keep the destination closed for ever."""
    breaker = opened(at=0.0)

    call(breaker, 30.0, failed=None)

    assert (BreakerState.HALF_OPEN, True) == (breaker.state(30.0), breaker.allows(30.0))


def test_a_probe_that_is_answered_closes_it_with_a_clean_slate() -> None:
    """What failed before it opened is forgotten."""
    breaker = opened(at=0.0)

    call(breaker, 30.0, failed=False)

    assert (BreakerState.CLOSED, None, (0, 0)) == (breaker.state(30.0), breaker.open_until, breaker.counts(30.0))


def test_calls_from_before_it_opened_decide_nothing_afterwards() -> None:
    """Neither does their late success close it, nor their late failure open it again."""
    breaker = CircuitBreaker()
    early = [breaker.begin() for _ in range(40)]
    for ticket in early[:20]:
        breaker.end(ticket, failed=True, now=0.0)
    breaker.end(early[20], failed=False, now=30.0)
    assert breaker.state(30.0) is BreakerState.HALF_OPEN
    call(breaker, 30.0, failed=False)
    for ticket in early[21:]:
        breaker.end(ticket, failed=True, now=31.0)

    assert (BreakerState.CLOSED, (0, 0)) == (breaker.state(31.0), breaker.counts(31.0))


def test_a_destination_that_came_back_gets_more_and_more_calls() -> None:
    """Each answer allows one more at a time, until it is trusted again."""
    breaker = opened(at=0.0)
    call(breaker, 30.0, failed=False)
    limits = [breaker.limit(30.0)]
    for _ in range(MIN_CALLS):
        call(breaker, 30.0, failed=False)
        limits.append(breaker.limit(30.0))

    assert [*range(2, 22), None] == limits


calls = st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=150)


@given(calls)
def test_it_opens_exactly_when_the_rule_says_so(history: Sequence[tuple[int, bool]]) -> None:
    """Held against the rule written down plainly, over any history of whole seconds."""
    breaker, ended, now = CircuitBreaker(), list[tuple[int, bool]](), 0
    for gap, failed in history:
        now += gap
        call(breaker, now, failed=failed)
        ended.append((now, failed))
        recent = [failed for moment, failed in ended if moment > now - WINDOW]
        expected = len(recent) >= MIN_CALLS and sum(recent) >= FAILING_SHARE * len(recent)
        assert expected == (breaker.state(now) is BreakerState.OPEN)
        if expected:
            break


@dataclass
class Traffic:
    """Calls under way, and how many began since the breaker opened."""

    now: float = 0.0
    tickets: list[int] = field(default_factory=list)
    probes: list[int] = field(default_factory=list)


class AnyTraffic(RuleBasedStateMachine):
    """Calls that begin when they are allowed, overlap, and end in any order and any way."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.breaker, self.traffic = CircuitBreaker(), Traffic()

    @rule(seconds=st.floats(0, 20))
    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.traffic.now += seconds

    @rule(count=st.integers(1, 30))
    def begin(self, count: int) -> None:
        """Begin as many calls as are wanted and allowed."""
        for _ in range(count):
            if not self.breaker.allows(self.traffic.now):
                break
            state = self.breaker.state(self.traffic.now)
            assert state is not BreakerState.OPEN
            ticket = self.breaker.begin()
            (self.traffic.probes if state is BreakerState.HALF_OPEN else self.traffic.tickets).append(ticket)

    @precondition(lambda self: self.traffic.tickets)
    @rule(data=st.data(), failed=st.sampled_from([True, True, False, None]), count=st.integers(1, 30))
    def end(self, data: st.DataObject, *, failed: bool | None, count: int) -> None:
        """End calls that began while it was closed."""
        for _ in range(min(count, len(self.traffic.tickets))):
            before = self.breaker.state(self.traffic.now)
            ticket = self.traffic.tickets.pop(data.draw(st.integers(0, len(self.traffic.tickets) - 1)))
            self.breaker.end(ticket, failed=failed, now=self.traffic.now)
            after = self.breaker.state(self.traffic.now)
            assert before is after or (before, after) == (BreakerState.CLOSED, BreakerState.OPEN)

    @precondition(lambda self: self.traffic.probes)
    @rule(failed=st.sampled_from([True, False, None]))
    def end_probe(self, *, failed: bool | None) -> None:
        """End the probe: it alone decides."""
        self.breaker.end(self.traffic.probes.pop(), failed=failed, now=self.traffic.now)
        expected = {True: BreakerState.OPEN, False: BreakerState.CLOSED, None: BreakerState.HALF_OPEN}[failed]
        assert expected is self.breaker.state(self.traffic.now)

    @invariant()
    def there_is_one_probe_at_most(self) -> None:
        """However many wait."""
        assert len(self.traffic.probes) <= 1

    @invariant()
    def an_open_time_is_never_longer_than_thirty_seconds(self) -> None:
        """From now on."""
        assert (self.breaker.open_until or 0.0) <= self.traffic.now + OPEN_TIME

    @invariant()
    def it_is_called_again_in_the_end(self) -> None:
        """A breaker without a probe under way allows one once its time is over: nothing keeps it open for ever."""
        if not self.traffic.probes and self.breaker.open_until is not None:
            assert self.breaker.allows(self.traffic.now + OPEN_TIME)


TestAnyTraffic = AnyTraffic.TestCase
