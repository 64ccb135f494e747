"""The machine's clock."""

from datetime import UTC, timedelta

from mcp_queue.adapters.clock import SystemClock


async def test_the_machines_clock_is_aware_and_moves_on() -> None:
    """Its time of day is in UTC and its monotonic reading never steps back."""
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0)
    assert timedelta(0) == clock.now().utcoffset()
    assert UTC is clock.now().tzinfo
    assert before <= clock.monotonic()
