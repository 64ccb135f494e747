"""How much is asked for, and what runs next."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from mcp_queue.consumer.held_delivery import HeldDelivery
from mcp_queue.consumer.poll_planning import MAX_DEFERRING, Poll, choose, plan_polls
from mcp_queue.consumer.polled_queue import MAX_POLLS, PolledQueue
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import LevelPolicy
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.tasks import standard

SECONDS_20 = timedelta(seconds=20)


def polled_queue(level: int = 0, public_name: str = "work", **members: object) -> PolledQueue:
    """Make a polled queue, with these members."""
    queue = InMemoryQueue(
        standard(f"{public_name}-p{level}", public_name=public_name), clock=FakeClock(), serializer=JsonTaskSerializer()
    )
    polled = PolledQueue(queue, SECONDS_20, level)
    for name, value in members.items():
        setattr(polled, name, value)
    return polled


def held_delivery(polled: PolledQueue) -> HeldDelivery:
    """Make a held delivery of a queue."""
    delivery = Delivery(
        queue="work", message_id="m", receipt_handle="r", body="", receive_count=1, leased_at=0.0, poison="none"
    )
    polled.held += 1
    return HeldDelivery(delivery, polled)


def open_polls(queues: list[PolledQueue], free: int, now: float = 0.0) -> list[Poll]:
    """Plan with a batch size of 10 and a threshold of 5, and open what is planned."""
    polls = plan_polls(queues, free_slots=free, batch_size=10, threshold=5, now=now).polls
    for poll in polls:
        poll.polled.opened(poll.limit, now)
    return polls


def test_idle_queues_ask_for_one_each() -> None:
    """A long poll of an idle polled takes no slot from the others."""
    assert [1, 1, 1] == [poll.limit for poll in open_polls([polled_queue(level) for level in range(3)], free=10)]


def test_a_productive_queue_asks_for_all_free_slots_but_what_the_others_may_ask() -> None:
    """It leaves every other queue its one message."""
    queues = [polled_queue(0, productive=True), polled_queue(1)]

    assert {(1, 1), (0, 8)} == {(poll.polled.level, poll.limit) for poll in open_polls(queues, free=7)}


def test_a_productive_queue_waits_a_moment_for_a_larger_share() -> None:
    """Each receive is a request that costs: a small share is left to grow, but not for long."""
    polled = polled_queue(productive=True)

    plan = plan_polls([polled], free_slots=1, batch_size=10, threshold=5, now=1.0)
    assert plan.polls == []
    assert plan.again_at is not None
    assert {polled: plan.again_at} == plan.lingering
    polled.linger_until = plan.again_at
    assert [2] == [poll.limit for poll in open_polls([polled], free=1, now=plan.again_at)]


def test_a_queue_widens_while_it_finds_all_it_asks_for() -> None:
    """Several polls of one polled run side by side under load, and one again when it runs dry."""
    polled = polled_queue()
    for _ in range(20):
        for poll in open_polls([polled], free=200):
            polled.answered(poll.limit, poll.limit, 0.0)
    assert polled.max_polls == MAX_POLLS
    (poll, *rest) = open_polls([polled], free=200)
    polled.answered(poll.limit, 0, 0.0)

    assert (1, False) == (polled.max_polls, polled.productive)
    assert len(rest) == 0


def test_paused_and_blocked_queues_are_not_polled() -> None:
    """Blocked ones are asked about again when their time is over."""
    queues = [polled_queue(0, paused=True), polled_queue(1, blocked_until=9.0)]

    assert ([], {}, 9.0) == plan_polls(queues, free_slots=5, batch_size=10, threshold=5, now=1.0)


def test_a_queue_whose_deferrals_pile_up_is_not_polled() -> None:
    """Or a backend that gives faster than it takes back would fill the memory."""
    queues = [polled_queue(0, deferring=MAX_DEFERRING), polled_queue(1, deferring=MAX_DEFERRING - 1)]

    assert [1] == [poll.polled.level for poll in open_polls(queues, free=5)]


queue_states = st.tuples(
    st.booleans(), st.integers(1, MAX_POLLS), st.lists(st.integers(1, 10), max_size=3), st.integers(0, 3)
)


@given(st.lists(queue_states, min_size=1, max_size=6), st.integers(0, 40), st.integers(1, 10))
def test_held_and_asked_never_exceed_the_free_slots_plus_one_a_queue(
    states: list[tuple[bool, int, list[int], int]], free: int, batch: int
) -> None:
    """Whatever the state, no plan asks for more than could start soon."""
    queues = []
    for productive, width, asks, held in states:
        queues.append(
            polled_queue(productive=productive, max_polls=width, open_polls=len(asks), asked=sum(asks), held=held)
        )
    before = sum(polled.held + polled.asked for polled in queues)

    polls = plan_polls(queues, free_slots=free, batch_size=batch, threshold=1, now=0.0).polls

    assert before == sum(polled.held + polled.asked for polled in queues), "planning changes nothing"
    assert not polls or before + sum(poll.limit for poll in polls) <= free + len(queues)
    assert all(1 <= poll.limit <= batch for poll in polls)


def test_the_highest_level_runs_first_and_the_longest_held_among_equals() -> None:
    """Strict priority, in order of arrival."""
    low, high = polled_queue(0), polled_queue(3)
    first, second, third = held_delivery(low), held_delivery(high), held_delivery(high)

    assert choose([first, second, third], {}).held is second


def test_queues_take_turns_whatever_their_levels() -> None:
    """A level is a rank inside its own queue: it starves no other."""
    urgent, low, plain = polled_queue(3), polled_queue(0), polled_queue(0, public_name="plain")
    held = [held_delivery(polled) for polled in (urgent, low, plain)]
    name = urgent.name
    assert low.name == name != plain.name
    assert held[2] is choose(held, {name: 2, plain.name: 1}).held
    assert held[0] is choose(held, {name: 1, plain.name: 2}).held


def test_weighted_levels_share_two_to_one_and_none_starves() -> None:
    """Each level gets twice what the one below gets."""
    queues = [polled_queue(level, policy=LevelPolicy.WEIGHTED) for level in range(4)]
    held = [held_delivery(polled) for polled in queues]

    chosen = []
    for _ in range(150):
        choice = choose(held, {})
        chosen.append(choice.held.polled.level)
        for level, credit in choice.credit.items():
            level.credit = credit

    assert [10, 20, 40, 80] == [chosen.count(level) for level in range(4)]
