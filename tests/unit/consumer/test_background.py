"""What a consumer does beside its tasks."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from mcp_queue.consumer.background import share_destinations, watch_depths, watch_pauses
from mcp_queue.domain.callbacks.destinations import Target
from mcp_queue.domain.errors import BackendUnavailableError, LedgerUnavailableError
from mcp_queue.domain.operators.audit import DestinationReport, DestinationView
from mcp_queue.services.periodic import running
from mcp_queue.testing import FakeClock
from mcp_queue.testing.pauses import InMemoryPauseSwitch
from tests.support.consumer import KitFactory, succeed
from tests.support.tasks import standard


async def test_consumers_follow_a_pause_within_five_seconds(consumer: KitFactory) -> None:
    """All switches together say what is paused."""
    kit = await consumer(succeed, specs=[standard("a"), standard("b"), standard("c")])
    switches = [InMemoryPauseSwitch(), InMemoryPauseSwitch()]
    async with running([watch_pauses(kit.pool, switches)], kit.clock):
        await switches[0].pause("a")
        await switches[1].pause("b")
        await kit.pass_time(4)
        assert [True, True, False] == [polled.paused for polled in kit.pool.polled]
        await switches[0].resume("a")
        await kit.pass_time(4)

        assert [False, True, False] == [polled.paused for polled in kit.pool.polled]


class ListedDestinations:
    """A ``Destinations`` that keeps what it is told, and is down when a test says so."""

    def __init__(self) -> None:
        """Know nothing."""
        self.names: frozenset[str] = frozenset()
        self.reports: list[DestinationReport] = []
        self.down = False

    async def pause(self, name: str) -> None:
        """Pause ``name``."""
        self.names |= {name}

    async def resume(self, name: str) -> None:
        """Resume ``name``."""
        self.names -= {name}

    async def paused(self) -> frozenset[str]:
        """Return what is paused."""
        if self.down:
            raise LedgerUnavailableError
        return self.names

    async def publish(self, reports: Sequence[DestinationReport]) -> None:
        """Keep the reports."""
        self.reports += reports

    async def list_destinations(self, reported_after: datetime) -> Sequence[DestinationView]:
        """Return nothing: consumers do not ask."""
        return ()


async def test_operators_see_and_pause_destinations_within_seconds(consumer: KitFactory) -> None:
    """While the ledger is away what was paused stays paused."""
    kit = await consumer(succeed)
    store, target = ListedDestinations(), Target("http://a.example:80", "a.example")
    for _ in range(20):
        kit.destinations.enter(target).end(failed=True)
    job = share_destinations(kit.destinations, store, consumer="here", clock=kit.clock)
    async with running([job], kit.clock):
        await store.pause("http://b.example:80")
        await kit.pass_time(6)
        store.down = True
        await kit.pass_time(5)

        assert kit.destinations.refusal(Target("http://b.example:80", "b.example")) is not None
        store.down = False
        await store.resume("http://b.example:80")
        await kit.pass_time(5)
        assert kit.destinations.refusal(Target("http://b.example:80", "b.example")) is None

    figures = {
        "calls": 20,
        "failures": 20,
        "open_until": "2026-01-01T00:00:30.000000Z",
        "in_flight": 0,
        "waiting": 0,
        "deferred": 0,
    }
    assert [0, 5, 15] == [(report.reported_at - kit.clock._start).total_seconds() for report in store.reports]
    first = store.reports[0]
    assert ("http://a.example:80", "here", "open", figures) == (first.name, first.consumer, first.state, first.figures)


async def test_depths_are_observed_again_and_again() -> None:
    """The gauges follow the queues; one that does not answer holds no other up."""
    clock, observed = FakeClock(), []

    async def observe(name: str) -> None:
        if name == "down":
            raise BackendUnavailableError
        observed.append((name, clock.monotonic()))

    async with running([watch_depths(["down", "up"], observe)], clock):
        await clock.advance(timedelta(seconds=16))

    assert [("up", 0.0), ("up", 15.0)] == observed
