"""What becomes of tasks whose destination may not be called now, and of all the others meanwhile."""

import asyncio
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from mcp_queue.consumer import deferrals
from mcp_queue.domain.callbacks.breaker import BreakerState
from mcp_queue.domain.callbacks.destinations import DestinationLimits, LimitRule
from mcp_queue.domain.errors import BackendUnavailableError, CallbackFailedError, VisibilityTimeoutError
from mcp_queue.domain.queues import QueueTraits
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from mcp_queue.ports import Admission
from tests.support.consumer import ConsumerKit, GroupedReceive, KitFactory
from tests.support.tasks import fifo, standard

A, B = "http://a.example", "http://b.example"


class World:
    """The destinations of a test: which are down, and which keep their callers waiting."""

    def __init__(self) -> None:
        """Answer every call at once."""
        self.down: set[str] = set()
        self.slow: set[str] = set()
        self.gate = asyncio.Event()
        self.calls: list[str] = []
        self.busy: Counter[str] = Counter()
        self.busiest: Counter[str] = Counter()

    async def __call__(self, task: Task) -> JsonValue:
        """Answer as the task's destination does."""
        url = task.callback_url or ""
        self.calls.append(task.id)
        self.busy[url] += 1
        self.busiest[url] = max(self.busiest[url], self.busy[url])
        try:
            if url in self.slow:
                await self.gate.wait()
            if url in self.down:
                raise CallbackFailedError("the callback answered 503", response_status=503)
        finally:
            self.busy[url] -= 1
        return None


@pytest.fixture
def world() -> World:
    """Return destinations that answer."""
    return World()


def limited(**limits: Any) -> list[LimitRule]:
    """Return limits for A alone."""
    return [LimitRule(limits=DestinationLimits(**limits), host="a.example")]


async def open_breaker(kit: ConsumerKit, world: World, url: str = A, queue: str = "tasks") -> None:
    """Let twenty calls of ``url`` fail for good; it stays down."""
    world.down.add(url)
    tasks = [kit.task(f"doomed{n}", queue, callback_url=url, group=f"d{n}", max_retries=0) for n in range(20)]
    await kit.enqueue(*tasks, queue=queue)
    while not kit.metrics.open:
        await kit.pass_time(0.1)
    world.calls.clear()


def some(kit: ConsumerKit, count: int, url: str, queue: str = "tasks", **members: object) -> list[Task]:
    """Make tasks that call ``url``, each in a group of its own."""
    name = url[7]
    return [kit.task(f"{name}{n}", queue, callback_url=url, group=f"{name}{n}", **members) for n in range(count)]


def deferrals_of(kit: ConsumerKit, queue: str = "tasks") -> int:
    """Count what was given back to come again later."""
    return kit.queues[queue].calls.count("defer")


@pytest.mark.parametrize("queue", ["tasks", "orders"])
async def test_an_open_breaker_burns_no_attempts_while_others_go_on(
    consumer: KitFactory, world: World, queue: str
) -> None:
    """Its tasks neither run nor take slots; when it answers again, each runs as the attempt that it was."""
    kit = await consumer(world, specs=[standard(), fifo()], slots=3)
    await open_breaker(kit, world, queue=queue)
    started = sum(kit.log.starts)
    await kit.enqueue(*some(kit, 50, A, queue), *some(kit, 50, B, queue), queue=queue)
    await kit.pass_time(5)

    assert {f"b{n}" for n in range(50)} == set(world.calls)
    assert started + 50 == sum(kit.log.starts)
    assert kit.pool.busy == 0

    world.down.clear()
    await kit.pass_time(60)
    assert {(f"a{n}", 1) for n in range(50)} <= set(kit.dispatcher.ran)
    assert len(kit.dispatcher.ran) == len(set(kit.dispatcher.ran)) == 120
    assert await kit.depth(queue) == 0


async def test_a_deferred_task_comes_back_unchanged_after_the_open_time(consumer: KitFactory, world: World) -> None:
    """Up to a quarter later, so that those that left together do not return together."""
    kit = await consumer(world)
    await open_breaker(kit, world)
    await kit.enqueue(kit.task(callback_url=A, retry_count=1))
    await kit.pass_time(1)

    (message,) = kit.queues["tasks"].inner._messages
    (state,) = kit.destinations.snapshot()
    assert state.open_until is not None
    assert b'"retry_count":1' in message.body.encode()
    assert timedelta(seconds=36) < message.visible_at - kit.clock.now() < timedelta(seconds=37.5)
    assert [("http://a.example:80", "breaker")] == kit.metrics.deferrals


async def test_a_deferral_takes_five_seconds_at_least(consumer: KitFactory, world: World) -> None:
    """Also right before the breaker lets a probe through."""
    kit = await consumer(world)
    await open_breaker(kit, world)
    await kit.pass_time(28)
    await kit.enqueue(kit.task(callback_url=A))
    await kit.pass_time(0.5)

    (message,) = kit.queues["tasks"].inner._messages
    assert timedelta(seconds=5) < message.visible_at - kit.clock.now() < timedelta(seconds=6.25)


async def test_a_task_moved_back_by_the_backend_is_deferred_as_its_new_generation(
    consumer: KitFactory, world: World
) -> None:
    """The notes of its dead letter do not travel on."""
    kit = await consumer(world)
    await open_breaker(kit, world)
    notes = {"failed_at": "2026-01-01T00:00:00Z", "failure_reason": "no", "original_queue": "tasks"}
    await kit.enqueue(kit.task(callback_url=A, metadata=notes, retry_count=2))
    await kit.pass_time(1)

    (message,) = kit.queues["tasks"].inner._messages
    assert '"redrive_count":1' in message.body
    assert "failed_at" not in message.body


async def test_a_deferral_that_the_backend_does_not_take_is_tried_again(consumer: KitFactory, world: World) -> None:
    """The delivery is settled exactly once, whatever happens on the way."""
    kit = await consumer(world)
    await open_breaker(kit, world)
    kit.queues["tasks"].faults["defer"] = [BackendUnavailableError(), BackendUnavailableError()]
    await kit.enqueue(kit.task(callback_url=A))
    await kit.pass_time(0.1)
    assert kit.pool.polled[0].deferring == 1
    await kit.pass_time(5)

    assert (3, 0) == (deferrals_of(kit), kit.pool.polled[0].deferring)


async def test_a_deferral_whose_lease_is_lost_meanwhile_is_given_up(consumer: KitFactory, world: World) -> None:
    """Another consumer has the task by then."""
    kit = await consumer(world, specs=[standard(visibility_timeout=timedelta(seconds=30))])
    await open_breaker(kit, world)
    kit.queues["tasks"].faults["defer"] = [BackendUnavailableError() for _ in range(100)]
    kit.queues["tasks"].faults["extend"] = [VisibilityTimeoutError()]
    await kit.enqueue(kit.task(callback_url=A))
    await kit.pass_time(20)

    assert (1, 0) == (kit.metrics.lost, kit.pool.polled[0].deferring)
    tries = deferrals_of(kit)
    await kit.pass_time(5)
    assert tries == deferrals_of(kit)


async def test_what_is_not_to_run_anyway_is_not_deferred(consumer: KitFactory, world: World) -> None:
    """An expired task ends although its destination is down, and makes no call."""
    kit = await consumer(world)
    await open_breaker(kit, world)
    await kit.enqueue(kit.task(callback_url=A, expires_at=kit.clock.now()))
    await kit.pass_time(1)

    assert await kit.depth() == 0
    assert (TaskStatus.EXPIRED, []) == (kit.metrics.statuses[-1], world.calls)
    (state,) = kit.destinations.snapshot()
    assert state.in_flight == 0


async def test_a_deferred_fifo_delivery_keeps_its_lease_without_a_slot(consumer: KitFactory, world: World) -> None:
    """Sent again, it would lose its place in its group; it is neither held nor settled while it waits."""
    kit = await consumer(world, specs=[fifo(visibility_timeout=timedelta(seconds=30))])
    await open_breaker(kit, world, queue="orders")
    kit.destinations.set_paused(frozenset({"http://a.example:80"}))
    kit.queues["orders"].calls.clear()
    await kit.enqueue(*some(kit, 3, A, "orders"), queue="orders")
    await kit.pass_time(200)

    assert (0, 0) == (kit.pool.busy, kit.pool.polled[0].held)
    assert {"receive", "extend"} == set(kit.queues["orders"].calls)
    assert [1, 1, 1] == [message.receive_count for message in kit.queues["orders"].inner._messages]
    assert kit.metrics.lost == 0

    world.down.clear()
    kit.destinations.set_paused(frozenset())
    await kit.pass_time(1)
    assert ["a0", "a1", "a2"] == world.calls


async def test_followers_wait_behind_a_deferred_head(consumer: KitFactory, world: World) -> None:
    """Also those that call another destination: the order of a group comes first."""
    kit = await consumer(world, specs=[fifo()], slots=5, prepare=GroupedReceive)
    kit.destinations.set_paused(frozenset({"http://a.example:80"}))
    head = kit.task("head", "orders", callback_url=A, group="g")
    follower = kit.task("follower", "orders", callback_url=B, group="g")
    await kit.enqueue(head, follower, queue="orders")
    await kit.pass_time(60)
    assert world.calls == []

    kit.destinations.set_paused(frozenset())
    await kit.pass_time(1)
    assert ["head", "follower"] == world.calls


async def test_a_follower_may_be_deferred_in_its_turn(consumer: KitFactory, world: World) -> None:
    """It begins to wait when the one before it is gone."""
    kit = await consumer(world, specs=[fifo()], slots=5, prepare=GroupedReceive)
    kit.destinations.set_paused(frozenset({"http://b.example:80"}))
    head = kit.task("head", "orders", callback_url=A, group="g")
    follower = kit.task("follower", "orders", callback_url=B, group="g")
    await kit.enqueue(head, follower, queue="orders")
    await kit.pass_time(60)
    assert (["head"], 0) == (world.calls, kit.pool.busy)

    kit.destinations.set_paused(frozenset())
    await kit.pass_time(1)
    assert ["head", "follower"] == world.calls


@pytest.mark.parametrize("traits", [QueueTraits(), QueueTraits(rewrites=False, max_delay=timedelta(0))])
async def test_fifo_deliveries_that_are_too_many_to_wait_are_hidden(
    consumer: KitFactory, world: World, monkeypatch: pytest.MonkeyPatch, traits: QueueTraits
) -> None:
    """By one change of visibility, for fifteen minutes; those that wait already are left alone."""
    monkeypatch.setattr(deferrals, "MAX_WAITING", 3)
    kit = await consumer(world, specs=[fifo()], traits=traits)
    kit.destinations.set_paused(frozenset({"http://a.example:80"}))
    await kit.enqueue(*some(kit, 5, A, "orders"), queue="orders")
    await kit.pass_time(60)

    hidden = [message for message in kit.queues["orders"].inner._messages if message.receipt is None]
    assert (2, 2) == (len(hidden), deferrals_of(kit, "orders"))
    assert all(timedelta(minutes=14) <= message.visible_at - kit.clock.now() for message in hidden)

    kit.destinations.set_paused(frozenset())
    await kit.pass_time(1)
    assert ["a0", "a1", "a2"] == world.calls
    await kit.pass_time(15 * 60)
    assert await kit.depth("orders") == 0


async def test_followers_of_a_hidden_head_are_given_back(
    consumer: KitFactory, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, once the head is hidden: while it is, the backend hands out none of its group."""
    monkeypatch.setattr(deferrals, "MAX_WAITING", 1)
    kit = await consumer(world, specs=[fifo()], slots=5, prepare=GroupedReceive)
    kit.destinations.set_paused(frozenset({"http://a.example:80"}))
    await kit.enqueue(*(kit.task(f"t{n}", "orders", callback_url=A, group="g") for n in range(3)), queue="orders")
    await kit.pass_time(21)

    calls = [call for call in kit.queues["orders"].calls if call != "receive"]
    assert ["defer", "release", "release"] == calls[:3]
    assert world.calls == []


async def test_a_limit_has_its_places_beside_a_destination_that_takes_all(
    consumer: KitFactory, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for moments is not hidden for a quarter of an hour because of what waits for long."""
    monkeypatch.setattr(deferrals, "MAX_WAITING", 3)
    kit = await consumer(world, specs=[fifo()], limits=limited(max_concurrent=1))
    kit.destinations.set_paused(frozenset({"http://b.example:80"}))
    await kit.enqueue(*some(kit, 5, B, "orders"), *some(kit, 3, A, "orders"), queue="orders")
    world.slow.add(A)
    await kit.pass_time(1)
    assert 2 == deferrals_of(kit, "orders")
    world.gate.set()
    await kit.pass_time(1)

    assert ["a0", "a1", "a2"] == world.calls


async def test_a_half_open_breaker_lets_one_probe_through(consumer: KitFactory, world: World) -> None:
    """Whoever waits for it goes on when it succeeds, one more at a time after each answer."""
    kit = await consumer(world, specs=[fifo()], slots=10)
    await open_breaker(kit, world, queue="orders")
    await kit.enqueue(*some(kit, 30, A, "orders"), queue="orders")
    world.slow.add(A)
    await kit.pass_time(35)

    assert (["a0"], 1) == (world.calls, kit.pool.busy)
    assert [BreakerState.HALF_OPEN] == [state.state for state in kit.destinations.snapshot()]
    assert [29] == [state.waiting for state in kit.destinations.snapshot()]

    world.down.clear()
    world.gate.set()
    world.slow.clear()
    await kit.pass_time(1)
    assert [f"a{n}" for n in range(30)] == world.calls
    assert kit.metrics.open == []


async def test_a_probe_that_fails_is_an_attempt_of_its_task_alone(consumer: KitFactory, world: World) -> None:
    """All others wait for another half a minute."""
    kit = await consumer(world, specs=[fifo()], slots=10)
    await open_breaker(kit, world, queue="orders")
    await kit.enqueue(*some(kit, 30, A, "orders", max_retries=5), queue="orders")
    await kit.pass_time(100)

    assert 3 == len(world.calls)
    assert [BreakerState.OPEN] == [state.state for state in kit.destinations.snapshot()]


async def test_a_probe_that_makes_no_call_leaves_its_place_to_the_next(consumer: KitFactory, world: World) -> None:
    """A task that was canceled meanwhile, for one."""
    kit = await consumer(world, specs=[fifo()])
    await open_breaker(kit, world, queue="orders")
    world.down.clear()
    await kit.enqueue(*some(kit, 2, A, "orders"), queue="orders")
    kit.log.answers["a0"] = Admission(0, refused=TaskStatus.CANCELED)
    await kit.pass_time(31)

    assert ["a1"] == world.calls
    assert kit.metrics.open == []


async def test_a_standard_task_waits_for_the_end_of_the_probe(consumer: KitFactory, world: World) -> None:
    """For some seconds, and without a slot; if the probe fails it comes back when the next one is due."""
    kit = await consumer(world)
    await open_breaker(kit, world)
    await kit.enqueue(*some(kit, 2, A))
    world.slow.add(A)
    await kit.pass_time(38)  # both came back; the first is the probe
    assert (1, 1) == (kit.pool.busy, kit.destinations.snapshot()[0].waiting)
    assert 2 == deferrals_of(kit)
    await kit.pass_time(5)
    assert (3, 0) == (deferrals_of(kit), kit.destinations.snapshot()[0].waiting)


async def test_a_paused_destination_is_not_called_until_it_is_resumed(consumer: KitFactory, world: World) -> None:
    """Its standard tasks are looked at again every half a minute; others go on."""
    kit = await consumer(world)
    kit.destinations.set_paused(frozenset({"http://a.example:80"}))
    await kit.enqueue(*some(kit, 1, A), *some(kit, 1, B))
    await kit.pass_time(70)
    assert (["b0"], 2) == (world.calls, deferrals_of(kit))
    assert [("http://a.example:80", "paused")] * 2 == kit.metrics.deferrals

    kit.destinations.set_paused(frozenset())
    await kit.pass_time(30)
    assert ["b0", "a0"] == world.calls


async def test_a_concurrency_limit_makes_its_tasks_wait_a_moment(consumer: KitFactory, world: World) -> None:
    """Without a slot and without going back to the queue, while others go on."""
    kit = await consumer(world, slots=4, limits=limited(max_concurrent=2))
    world.slow.add(A)
    await kit.enqueue(*some(kit, 6, A), *some(kit, 6, B))
    await kit.pass_time(1)
    assert ({f"b{n}" for n in range(6)} | {"a0", "a1"}, 2) == (set(world.calls), kit.pool.busy)
    world.gate.set()
    await kit.pass_time(1)

    assert [f"a{n}" for n in range(6)] == [call for call in world.calls if call[0] == "a"]
    assert (2, 0) == (world.busiest[A], deferrals_of(kit))


async def test_a_task_that_waits_too_long_for_a_limit_is_given_back(consumer: KitFactory, world: World) -> None:
    """After five seconds it comes back later rather than keeping its lease here."""
    kit = await consumer(world, slots=4, limits=limited(max_concurrent=1))
    world.slow.add(A)
    await kit.enqueue(*some(kit, 3, A))
    await kit.pass_time(4.5)
    assert 0 == deferrals_of(kit)
    await kit.pass_time(1)

    assert 2 == deferrals_of(kit)
    assert [("http://a.example:80", "limit")] * 2 == kit.metrics.deferrals


async def test_a_fifo_delivery_waits_for_a_limit_as_long_as_it_takes(consumer: KitFactory, world: World) -> None:
    """Nothing else keeps the order of its group."""
    kit = await consumer(world, specs=[fifo()], slots=4, limits=limited(max_concurrent=1))
    world.slow.add(A)
    await kit.enqueue(*some(kit, 3, A, "orders"), queue="orders")
    await kit.pass_time(250)
    world.gate.set()
    await kit.pass_time(1)

    assert (["a0", "a1", "a2"], 0) == (world.calls, deferrals_of(kit, "orders"))
    assert kit.metrics.deferrals == []


async def test_a_fifo_delivery_waits_for_a_rate_however_low(consumer: KitFactory, world: World) -> None:
    """Also where its turn is not soon."""
    kit = await consumer(world, specs=[fifo()], limits=limited(max_per_second=0.1))
    await kit.enqueue(*some(kit, 4, A, "orders"), queue="orders")
    await kit.pass_time(31)

    assert (["a0", "a1", "a2", "a3"], 0) == (world.calls, deferrals_of(kit, "orders"))


async def test_a_rate_limit_spreads_calls_over_time(consumer: KitFactory, world: World) -> None:
    """No second sees more of them; what does not fit into five seconds gets its turn later."""
    kit = await consumer(world, slots=10, limits=limited(max_per_second=2))
    await kit.enqueue(*some(kit, 30, A))
    await kit.pass_time(0.5)
    seen = [len(world.calls)]
    for _ in range(30):
        await kit.pass_time(1)
        seen.append(len(world.calls))

    assert (2, 30) == (seen[0], seen[-1])
    assert all(later - earlier <= 2 for earlier, later in pairwise(seen))
    assert 30 - 2 - 10 == deferrals_of(kit)


async def test_tasks_that_are_too_many_for_a_limit_come_back_one_after_another(
    consumer: KitFactory, world: World
) -> None:
    """At the pace of the destination, so that hardly any has to be put off twice."""
    kit = await consumer(world, slots=10, limits=limited(max_per_second=1))
    await kit.enqueue(*some(kit, 100, A))
    await kit.pass_time(180)

    assert 100 == len(world.calls)
    assert deferrals_of(kit) < 200


async def test_with_all_slots_taken_a_limit_sends_nothing_back(consumer: KitFactory, world: World) -> None:
    """More is not received than could start, so the backlog stays where it is."""
    kit = await consumer(world, slots=2, limits=limited(max_concurrent=2))
    world.slow.add(A)
    await kit.enqueue(*some(kit, 100, A))
    await kit.pass_time(60)

    assert 0 == deferrals_of(kit)
    assert (await kit.queues["tasks"].stats()).inflight_messages == 3


async def test_an_open_breaker_holds_up_nobody_while_all_slots_are_taken(consumer: KitFactory, world: World) -> None:
    """What cannot run makes room for what can, so that the next free slot has something at hand."""
    kit = await consumer(world, slots=1)
    await open_breaker(kit, world)
    world.slow.add(B)
    await kit.enqueue(*some(kit, 1, B), *some(kit, 20, A))
    await kit.enqueue(kit.task("next", callback_url=B))
    await kit.pass_time(5)

    assert (["b0"], 20) == (world.calls, deferrals_of(kit))
    assert kit.pool.polled[0].held == 1


async def test_a_level_above_goes_first_also_among_what_waits(consumer: KitFactory, world: World) -> None:
    """Waiting for a destination changes nothing about priorities."""
    kit = await consumer(
        world,
        specs=[standard(name, public_name="work") for name in ("low", "high")],
        levels=[("low", 0), ("high", 3)],
        slots=4,
        limits=limited(max_concurrent=1),
    )
    world.slow.add(A)
    await kit.enqueue(*(kit.task(f"low{n}", "low", callback_url=A) for n in range(3)), queue="low")
    await kit.pass_time(1)
    await kit.enqueue(*(kit.task(f"high{n}", "high", callback_url=A) for n in range(2)), queue="high")
    await kit.pass_time(1)
    world.gate.set()
    await kit.pass_time(1)

    assert ["low0", "high0", "high1", "low1", "low2"] == world.calls


async def test_a_backlog_that_is_set_free_takes_turns_with_the_others(consumer: KitFactory, world: World) -> None:
    """A destination that comes back with many waiting does not starve those that were never gone."""
    kit = await consumer(world, specs=[fifo()], slots=1)
    kit.destinations.set_paused(frozenset({"http://a.example:80"}))
    await kit.enqueue(*some(kit, 20, A, "orders"), queue="orders")
    await kit.pass_time(1)
    await kit.enqueue(*some(kit, 20, B, "orders"), queue="orders")
    world.calls.clear()
    kit.destinations.set_paused(frozenset())
    while len(world.calls) < 40:
        await kit.pass_time(0.1)

    assert 8 <= sum(call[0] == "b" for call in world.calls[:20]) <= 12


async def test_nothing_overtakes_what_waits_for_the_same_destination(consumer: KitFactory, world: World) -> None:
    """New arrivals of a queue stand behind those that came before."""
    kit = await consumer(world, slots=4, limits=limited(max_concurrent=1))
    world.slow.add(A)
    await kit.enqueue(*some(kit, 3, A))
    await kit.pass_time(1)
    world.gate.set()
    await kit.enqueue(kit.task("late", callback_url=A))
    await kit.pass_time(1)

    assert ["a0", "a1", "a2", "late"] == world.calls


async def park(consumer: KitFactory, world: World, url: str = A) -> ConsumerKit:
    """Return a consumer with three FIFO deliveries and three others that wait without a slot."""
    kit: ConsumerKit = await consumer(
        world, specs=[standard(), fifo()], slots=4, limits=limited(max_concurrent=1), prepare=None
    )
    world.slow.add(url)
    await kit.enqueue(kit.task("first", callback_url=url))
    await kit.pass_time(1)
    await kit.enqueue(*some(kit, 3, url))
    await kit.enqueue(*some(kit, 3, url, "orders"), queue="orders")
    await kit.pass_time(1)
    assert [6] == [state.waiting for state in kit.destinations.snapshot()]
    return kit


async def visible(kit: ConsumerKit, queue: str) -> int:
    """Count what could be received at once."""
    return (await kit.queues[queue].inner.stats()).approximate_messages


async def test_a_drain_gives_back_what_waits(consumer: KitFactory, world: World) -> None:
    """At once visible again, and not counted as received."""
    kit = await park(consumer, world)
    draining = asyncio.create_task(kit.pool.drain(timedelta(seconds=30), asyncio.Event()))
    await kit.pass_time(1)
    assert (3, 3) == (await visible(kit, "tasks"), await visible(kit, "orders"))
    world.gate.set()
    await kit.pass_time(25)
    await draining

    messages = kit.queues["tasks"].inner._messages + kit.queues["orders"].inner._messages
    assert [0] * 6 == [message.receive_count for message in messages]
    assert ["first"] == world.calls


async def test_pausing_a_queue_gives_back_what_waits_of_it(consumer: KitFactory, world: World) -> None:
    """What waits of other queues stays."""
    kit = await park(consumer, world)
    kit.pool.set_paused(frozenset({"orders"}))
    await kit.pass_time(1)

    assert 3 == await visible(kit, "orders")
    assert [3] == [state.waiting for state in kit.destinations.snapshot()]
    world.gate.set()
    await kit.pass_time(1)
    assert ["first", "a0", "a1", "a2"] == world.calls


async def test_what_waits_and_loses_its_lease_is_forgotten(consumer: KitFactory, world: World) -> None:
    """Another consumer may have it: also after a purge of the backend, there is nothing to give back."""
    kit = await park(consumer, world)
    kit.queues["orders"].faults["extend"] = [VisibilityTimeoutError() for _ in range(3)]
    await kit.pass_time(101)

    assert 3 == kit.metrics.lost
    assert {"receive", "extend"} == set(kit.queues["orders"].calls)
    assert "orders" not in {held.polled.name for held in kit.pool._deferrals.waiting()}


async def test_followers_of_a_deferred_head_that_lost_its_lease_are_given_back(
    consumer: KitFactory, world: World
) -> None:
    """Behind it the order is another consumer's to keep."""
    kit = await consumer(world, specs=[fifo()], slots=5, prepare=GroupedReceive)
    kit.destinations.set_paused(frozenset({"http://a.example:80"}))
    await kit.enqueue(*(kit.task(f"t{n}", "orders", callback_url=A, group="g") for n in range(2)), queue="orders")
    await kit.pass_time(21)
    kit.queues["orders"].faults["extend"] = [VisibilityTimeoutError()]
    await kit.pass_time(100)

    assert "release" in kit.queues["orders"].calls
    assert world.calls == []


async def test_a_deferral_that_a_drain_finds_under_way_is_finished(consumer: KitFactory, world: World) -> None:
    """The task is given back once, to come again later."""
    kit = await consumer(world)
    await open_breaker(kit, world)
    kit.queues["tasks"].faults["defer"] = [BackendUnavailableError()]
    await kit.enqueue(kit.task(callback_url=A))
    await kit.pass_time(0.1)
    draining = asyncio.create_task(kit.pool.drain(timedelta(seconds=30), asyncio.Event()))
    await kit.pass_time(25)
    await draining

    assert 2 == deferrals_of(kit)
    assert "release" not in kit.queues["tasks"].calls
    assert world.calls == []
