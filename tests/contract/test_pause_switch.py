"""What a ``PauseSwitch`` promises, on every backend that has one."""

from tests.support.queues.harness import QueueHarness


async def test_nothing_is_paused_at_first(harness: QueueHarness) -> None:
    """A backend that nobody told anything lets every queue be consumed."""
    assert frozenset() == await harness.pauses.paused()


async def test_paused_queues_are_remembered_until_they_are_resumed(harness: QueueHarness) -> None:
    """Pausing names a queue, resuming forgets it, and neither touches another queue."""
    await harness.pauses.pause("a")
    await harness.pauses.pause("b")
    await harness.pauses.resume("a")
    assert frozenset({"b"}) == await harness.pauses.paused()


async def test_pausing_and_resuming_twice_is_the_same_as_once(harness: QueueHarness) -> None:
    """An operator who repeats himself changes nothing."""
    await harness.pauses.pause("a")
    await harness.pauses.pause("a")
    assert frozenset({"a"}) == await harness.pauses.paused()
    await harness.pauses.resume("a")
    await harness.pauses.resume("a")
    assert frozenset() == await harness.pauses.paused()
