"""Durations as people write them."""

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_queue.domain.formats.durations import DURATION_PATTERN, in_seconds, parse_duration


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (90, timedelta(seconds=90)),
        (0, timedelta(0)),
        (1.5, timedelta(seconds=1.5)),
        ("300", timedelta(seconds=300)),
        ("0.25", timedelta(milliseconds=250)),
        ("100ms", timedelta(milliseconds=100)),
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("1m5ms", timedelta(minutes=1, milliseconds=5)),
        ("1d2h3m4s5ms", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5)),
    ],
)
def test_durations_are_numbers_with_units(written: object, expected: timedelta) -> None:
    """Seconds without a unit, and the units d, h, m, s and ms."""
    assert expected == parse_duration(written)


@pytest.mark.parametrize(
    "written",
    [
        *["", " ", "5 m", " 5m", "5m\n", "m", "5x", "5M", "-5s", "+5s", "1s1m", "1s1s", "5.s", ".5s", "1e3", "٣s"],
        *["1_000", "999999999999d", "1" * 13, None, True, [], {}, -1, float("nan"), float("inf"), 10**400, 1e300],
    ],
    ids=lambda written: repr(written)[:20],
)
def test_anything_else_is_refused(written: object) -> None:
    """Units stand once each, the longest first; nothing is negative or endless."""
    with pytest.raises(ValueError, match=r"expected a number of seconds|too long"):
        parse_duration(written)


@given(st.timedeltas(timedelta(0), timedelta(days=365)))
def test_seconds_are_read_back(duration: timedelta) -> None:
    """What an answer shows can be sent again."""
    assert duration == parse_duration(in_seconds(duration))


@given(st.lists(st.integers(0, 999), min_size=5, max_size=5))
def test_units_add_up(numbers: list[int]) -> None:
    """A duration is the sum of its parts."""
    days, hours, minutes, seconds, milliseconds = numbers
    written = f"{days}d{hours}h{minutes}m{seconds}s{milliseconds}ms"
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    assert expected == parse_duration(written)


@given(st.from_regex(DURATION_PATTERN, alphabet="0123456789.dhms"))
def test_schema_and_reader_agree(written: str) -> None:
    """What the schema allows is read, unless there is nothing in it or it is longer than a calendar."""
    try:
        parse_duration(written)
    except ValueError as error:
        assert written.strip("\n") != written or not written or "too long" in str(error)  # noqa: PT017  # most pass


@given(st.text("0123456789.dhms -", max_size=12))
def test_what_is_read_fits_the_schema(written: str) -> None:
    """The schema refuses nothing that is read."""
    try:
        parse_duration(written)
    except ValueError:
        return
    assert re.fullmatch(DURATION_PATTERN, written)


@pytest.mark.parametrize(("seconds", "expected"), [(300, "300"), (0.5, "0.5"), (0, "0")])
def test_whole_seconds_are_integers(seconds: float, expected: str) -> None:
    """JSON shows 300, not 300.0."""
    assert expected == str(in_seconds(timedelta(seconds=seconds)))
