"""How much is asked for, and what runs next."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from mcp_queue.adapters.clock import FakeClock
from mcp_queue.adapters.memory import MemoryQueue
from mcp_queue.consumer.poll_planning import MAX_DEFERRING, MAX_POLLS, Poll, answered, choose, plan_polls
from mcp_queue.consumer.work import Lane, Work
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import LevelPolicy
from tests.support.consumer import standard

SECONDS_20 = timedelta(seconds=20)


def make_lane(level: int = 0, **members: object) -> Lane:
    """Make a lane over an empty queue."""
    queue = MemoryQueue(
        standard(f"work-p{level}", public_name="work"), clock=FakeClock(), serializer=JsonTaskSerializer()
    )
    lane = Lane(queue, SECONDS_20, level)
    for name, value in members.items():
        setattr(lane, name, value)
    return lane


def make_work(lane: Lane) -> Work:
    """Make a held delivery of a lane."""
    delivery = Delivery(
        queue="work", message_id="m", receipt_handle="r", body="", receive_count=1, leased_at=0.0, poison="none"
    )
    lane.held += 1
    return Work(delivery, lane, SECONDS_20, 20.0, 5.0)


def plan(lanes: list[Lane], free: int, now: float = 0.0) -> list[Poll]:
    """Plan with a batch size of 10 and a threshold of 5."""
    return plan_polls(lanes, free_slots=free, batch_size=10, threshold=5, now=now)[0]


def test_idle_lanes_ask_for_one_each() -> None:
    """A long poll of an idle lane takes no slot from the others."""
    assert [1, 1, 1] == [poll.limit for poll in plan([make_lane(level) for level in range(3)], free=10)]


def test_a_hungry_lane_asks_for_all_free_slots_but_what_the_others_may_ask() -> None:
    """It leaves every other lane its one message."""
    lanes = [make_lane(0, hungry=True), make_lane(1)]

    assert {(1, 1), (0, 8)} == {(poll.lane.level, poll.limit) for poll in plan(lanes, free=7)}


def test_a_hungry_lane_waits_a_moment_for_a_larger_share() -> None:
    """Each receive is a request that costs: a small share is left to grow, but not for long."""
    lane = make_lane(hungry=True)

    polls, again_at = plan_polls([lane], free_slots=1, batch_size=10, threshold=5, now=1.0)
    assert polls == []
    assert again_at is not None
    assert [2] == [poll.limit for poll in plan([lane], free=1, now=again_at)]


def test_a_lane_widens_while_it_finds_all_it_asks_for() -> None:
    """Several polls of one lane run side by side under load, and one again when it runs dry."""
    lane = make_lane()
    for _ in range(20):
        for poll in plan([lane], free=200):
            answered(poll, poll.limit, 0.0)
    assert lane.width == MAX_POLLS
    (poll, *rest) = plan([lane], free=200)
    answered(poll, 0, 0.0)

    assert (1, False) == (lane.width, lane.hungry)
    assert len(rest) == 0


def test_paused_and_blocked_lanes_are_not_polled() -> None:
    """Blocked ones are asked about again when their time is over."""
    lanes = [make_lane(0, paused=True), make_lane(1, blocked_until=9.0)]

    assert ([], 9.0) == plan_polls(lanes, free_slots=5, batch_size=10, threshold=5, now=1.0)


def test_a_lane_whose_deferrals_pile_up_is_not_polled() -> None:
    """Or a backend that gives faster than it takes back would fill the memory."""
    lanes = [make_lane(0, deferring=MAX_DEFERRING), make_lane(1, deferring=MAX_DEFERRING - 1)]

    assert [1] == [poll.lane.level for poll in plan(lanes, free=5)]


lane_states = st.tuples(
    st.booleans(), st.integers(1, MAX_POLLS), st.lists(st.integers(1, 10), max_size=3), st.integers(0, 3)
)


@given(st.lists(lane_states, min_size=1, max_size=6), st.integers(0, 40), st.integers(1, 10))
def test_held_and_asked_never_exceed_the_free_slots_plus_one_a_lane(
    states: list[tuple[bool, int, list[int], int]], free: int, batch: int
) -> None:
    """Whatever the state, no plan asks for more than could start soon."""
    lanes = []
    for hungry, width, asks, held in states:
        lanes.append(make_lane(hungry=hungry, width=width, polls=len(asks), asked=sum(asks), held=held))
    before = sum(lane.held + lane.asked for lane in lanes)

    polls, _ = plan_polls(lanes, free_slots=free, batch_size=batch, threshold=1, now=0.0)

    after = sum(lane.held + lane.asked for lane in lanes)
    assert before + sum(poll.limit for poll in polls) == after
    assert not polls or after <= free + len(lanes)
    assert all(1 <= poll.limit <= batch for poll in polls)


def test_the_highest_level_runs_first_and_the_longest_held_among_equals() -> None:
    """Strict priority, in order of arrival."""
    low, high = make_lane(0), make_lane(3)
    first, second, third = make_work(low), make_work(high), make_work(high)

    assert choose([first, second, third]) is second


def test_weighted_levels_share_two_to_one_and_none_starves() -> None:
    """Each level gets twice what the one below gets."""
    lanes = [make_lane(level, policy=LevelPolicy.WEIGHTED) for level in range(4)]
    held = [make_work(lane) for lane in lanes]

    chosen = [choose(held).lane.level for _ in range(150)]

    assert [10, 20, 40, 80] == [chosen.count(level) for level in range(4)]
