"""Defines the jobs that a consumer repeats beside its tasks."""

import logging
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta

from mcp_queue.consumer.call_limits import DestinationRegistry
from mcp_queue.consumer.worker_pool import WorkerPool
from mcp_queue.domain.callbacks.destinations import DestinationState
from mcp_queue.domain.errors import QueueError
from mcp_queue.domain.formats.serialization import format_time
from mcp_queue.domain.operators.audit import DestinationReport
from mcp_queue.ports import Clock, Destinations, PauseSwitch, TaskStore
from mcp_queue.services.periodic import PeriodicJob

logger = logging.getLogger(__name__)


def watch_pauses(pool: WorkerPool, switches: Collection[PauseSwitch]) -> PeriodicJob:
    """Keep the pool to what operators paused; within 5 s, the time to read the switches included."""

    async def watch() -> None:
        names: frozenset[str] = frozenset()
        for switch in switches:
            names |= await switch.paused()
        pool.set_paused(names)

    return PeriodicJob("watch-pauses", timedelta(seconds=3), watch)


def share_destinations(
    registry: DestinationRegistry, store: Destinations, *, consumer: str, clock: Clock
) -> PeriodicJob:
    """Keep to the destinations that operators paused, and tell them, as ``consumer``, what is seen of each."""

    async def share() -> None:
        registry.set_paused(await store.paused())
        now = clock.now()
        await store.publish([_report(state, consumer, now) for state in registry.snapshot()])

    return PeriodicJob("share-destinations", timedelta(seconds=5), share)


def _report(state: DestinationState, consumer: str, now: datetime) -> DestinationReport:
    return DestinationReport(
        name=state.name,
        consumer=consumer,
        state=state.state.value,
        reported_at=now,
        figures={
            "calls": state.calls,
            "failures": state.failures,
            "open_until": None if state.open_until is None else format_time(state.open_until),
            "in_flight": state.in_flight,
            "waiting": state.waiting,
            "deferred": state.deferred,
        },
    )


def watch_depths(names: Collection[str], observe: Callable[[str], Awaitable[object]]) -> PeriodicJob:
    """Have each queue observed, so that its gauges are up to date; one that does not answer holds no other up."""

    async def observe_all() -> None:
        for name in names:
            try:
                await observe(name)
            except QueueError as error:
                logger.warning("the depth of %s is not known: %s", name, error)

    return PeriodicJob("watch-depths", timedelta(seconds=15), observe_all)


def watch_cancels(pool: WorkerPool, store: TaskStore) -> PeriodicJob:
    """Cancel running tasks that somebody withdrew."""

    async def cancel_withdrawn() -> None:
        running = {held.delivery.task.id for held in pool.running if held.delivery.task is not None}
        if running:
            for task_id in await store.cancel_requests(running):
                pool.cancel(task_id)

    return PeriodicJob("watch-cancels", timedelta(seconds=1), cancel_withdrawn)
