"""The fake clock."""

import asyncio

from mcp_queue.ports import Clock
from mcp_queue.testing import FakeClock
from tests.support.clock import HOUR, SECOND, START


async def note_wakings(clock: Clock, seconds: list[float], notes: list[tuple[float, float]]) -> None:
    """Sleep for each of ``seconds``, noting what was slept and when it ended."""
    for duration in seconds:
        await clock.sleep(duration)
        notes.append((duration, clock.monotonic()))


async def test_a_fake_clock_stands_still() -> None:
    """Without a test's help no time passes."""
    clock = FakeClock(START)
    sleeper = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    assert (START, 0.0, False) == (clock.now(), clock.monotonic(), sleeper.done())
    sleeper.cancel()


async def test_a_fake_clock_wakes_sleepers_in_the_order_of_their_times() -> None:
    """Whoever sleeps shorter wakes earlier, and both see their own time."""
    clock = FakeClock(START)
    notes: list[tuple[float, float]] = []
    sleepers = [asyncio.create_task(note_wakings(clock, [seconds], notes)) for seconds in (3, 1, 2)]
    await clock.advance(3 * SECOND)
    assert [(1, 1.0), (2, 2.0), (3, 3.0)] == notes
    assert all(sleeper.done() for sleeper in sleepers)


async def test_a_fake_clock_stops_for_those_who_sleep_again() -> None:
    """One step of the test is many for a task that wakes every second."""
    clock = FakeClock(START)
    notes: list[tuple[float, float]] = []
    sleeper = asyncio.create_task(note_wakings(clock, [1, 1, 1], notes))
    await clock.advance(10 * SECOND)
    assert ([1.0, 2.0, 3.0], True) == ([woken for _, woken in notes], sleeper.done())
    assert (START + 10 * SECOND, 10.0) == (clock.now(), clock.monotonic())


async def test_a_cancelled_sleeper_does_not_disturb_the_clock() -> None:
    """A sleep that nobody awaits any more is passed over."""
    clock = FakeClock(START)
    sleeper = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    sleeper.cancel()
    await clock.advance(2 * SECOND)
    assert sleeper.cancelled()
    assert START + 2 * SECOND == clock.now()


async def test_a_step_of_the_time_of_day_leaves_the_monotonic_reading_alone() -> None:
    """An operator may set the clock back; what counts durations goes on."""
    clock = FakeClock(START)
    await clock.advance(SECOND)
    clock.step(-HOUR)
    assert (START + SECOND - HOUR, 1.0) == (clock.now(), clock.monotonic())


async def test_sleeping_for_no_time_only_gives_way() -> None:
    """A sleep of zero, or less, ends without the clock."""
    await FakeClock(START).sleep(0)
    await FakeClock(START).sleep(-1)
