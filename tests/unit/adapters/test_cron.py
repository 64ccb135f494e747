"""Cron expressions through the year."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from mcp_queue.adapters.cron import next_tick
from mcp_queue.domain.errors import InvalidTaskError

BERLIN = ZoneInfo("Europe/Berlin")


def ticks(cron: str, timezone: str, after: datetime, count: int) -> list[datetime]:
    """Return the next ``count`` ticks, each found from the one before."""
    found: list[datetime] = []
    for _ in range(count):
        after = next_tick(cron, timezone, after)
        found.append(after)
    return found


def test_next_tick_lies_after_the_moment_and_in_utc() -> None:
    """The moment itself is over."""
    at = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    assert datetime(2026, 1, 1, 12, 5, tzinfo=UTC) == next_tick("*/5 * * * *", "UTC", at)
    assert at == next_tick("*/5 * * * *", "UTC", at - timedelta(microseconds=1))


def test_time_of_day_is_that_of_the_time_zone() -> None:
    """Nine o'clock in Tokyo is midnight in UTC."""
    at = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    assert datetime(2026, 1, 2, 0, 0, tzinfo=UTC) == next_tick("0 9 * * *", "Asia/Tokyo", at)


@pytest.mark.parametrize("time", ["0 2", "30 2", "59 2", "0 3", "0 1"])
@pytest.mark.parametrize("day", [datetime(2026, 3, 27, tzinfo=BERLIN), datetime(2026, 10, 23, tzinfo=BERLIN)])
def test_daily_run_comes_once_a_day_through_a_change_of_the_clocks(time: str, day: datetime) -> None:
    """Neither the night with an hour less nor the one with an hour more drops or doubles a run."""
    found = [tick.astimezone(BERLIN).date() for tick in ticks(f"{time} * * *", "Europe/Berlin", day, 5)]
    assert [day.date() + timedelta(days=number) for number in range(5)] == found


def test_run_in_the_hour_that_is_skipped_comes_when_it_ends() -> None:
    """Half past two does not exist that night: three o'clock is the first moment after it."""
    at = datetime(2026, 3, 29, 0, 0, tzinfo=BERLIN)
    assert datetime(2026, 3, 29, 3, 0, tzinfo=BERLIN) == next_tick("30 2 * * *", "Europe/Berlin", at)


def test_run_in_the_hour_that_comes_twice_does_not_come_again() -> None:
    """Seen from the second time, the run was the first time."""
    again = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    assert datetime(2026, 10, 26, 2, 30, tzinfo=BERLIN) == next_tick("30 2 * * *", "Europe/Berlin", again)


def test_hourly_run_comes_every_hour_that_passes() -> None:
    """The night with an hour more has one run more."""
    night = ticks("0 * * * *", "Europe/Berlin", datetime(2026, 10, 25, 0, 30, tzinfo=BERLIN), 4)
    assert [timedelta(hours=1)] * 3 == [later - earlier for earlier, later in pairwise(night)]


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "* * * * * *", "60 * * * *", "x * * * *", "0 0 30 2 *", "@daily", "*/0 * * * *", "1" * 300]
)
def test_what_is_no_cron_expression_is_refused(cron: str) -> None:
    """The caller learns which member is wrong."""
    with pytest.raises(InvalidTaskError) as refused:
        next_tick(cron, "UTC", datetime(2026, 1, 1, tzinfo=UTC))
    assert [("body", "cron")] == [error.loc for error in refused.value.errors]


@pytest.mark.parametrize(
    "timezone",
    [
        "",
        "localtime",
        "posixrules",
        "posix/UTC",
        "Mars/Olympus",
        "../etc/passwd",
        "/etc/localtime",
        "Europe",
        "a\0b",
        "ü" * 300,
    ],
)
def test_what_is_no_time_zone_is_refused(timezone: str) -> None:
    """Only names of the IANA database are time zones."""
    with pytest.raises(InvalidTaskError) as refused:
        next_tick("* * * * *", timezone, datetime(2026, 1, 1, tzinfo=UTC))
    assert [("body", "timezone")] == [error.loc for error in refused.value.errors]
