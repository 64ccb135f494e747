"""How many requests a key may make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_queue.domain.operators.rates import RateLimit, TokenBucket


def test_burst_passes_and_the_next_one_waits() -> None:
    """A full bucket holds a burst; who comes after it is told when there is a token again."""
    bucket = TokenBucket(RateLimit(per_second=2, burst=3), now=100)

    quotas = [bucket.take(100) for _ in range(4)]

    assert [2, 1, 0, 0] == [quota.remaining for quota in quotas]
    assert [0, 0, 0, 0.5] == [quota.wait for quota in quotas]
    assert 1.5 == quotas[-1].full_after


def test_bucket_fills_with_time_and_never_over_its_burst() -> None:
    """A key that was idle for a day has one burst, not a day's worth."""
    bucket = TokenBucket(RateLimit(per_second=2, burst=3), now=0)
    for _ in range(3):
        bucket.take(0)

    assert 0 == bucket.take(0.5).wait
    assert 0.5 == bucket.take(0.5).wait
    assert [0, 0, 0, 0.5] == [bucket.take(86_400).wait for _ in range(4)]


def test_refused_request_costs_nothing() -> None:
    """Who tries too early does not wait any longer for it."""
    bucket = TokenBucket(RateLimit(per_second=1, burst=1), now=0)
    bucket.take(0)

    assert [0.75, 0.5, 0] == [bucket.take(now).wait for now in (0.25, 0.5, 1)]


@pytest.mark.parametrize(("limit", "window"), [(RateLimit(2, 3), 2), (RateLimit(0.1, 1), 10), (RateLimit(50, 100), 2)])
def test_window_is_the_time_in_which_a_burst_comes_back(limit: RateLimit, window: int) -> None:
    """In whole seconds, as the header has it."""
    assert window == limit.window


@given(
    st.floats(0.01, 1000),
    st.integers(1, 100),
    st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_no_more_pass_than_the_limit_allows(per_second: float, burst: int, gaps: list[float]) -> None:
    """In any time from the first request on: a burst, and what the rate adds."""
    bucket, now, passed = TokenBucket(RateLimit(per_second, burst), now=0), 0.0, 0
    for gap in gaps:
        now += gap
        passed += not bucket.take(now).wait
        assert passed <= burst + now * per_second + 1e-6
