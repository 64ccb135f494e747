"""How much to ask for, and what to run next: pure decisions over lanes and held work."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcp_queue.consumer.work import Lane, Work
from mcp_queue.domain.queues import LevelPolicy

#: Most messages that one receive can return (SQS).
MAX_RECEIVE = 10
#: Most polls that one lane keeps open; at 10 messages and 20 ms each they bring 4,000 messages a second.
MAX_POLLS = 8
#: Most deliveries of one lane on their way back to come again later: beyond these the backend takes them back more
#: slowly than it hands them out.
MAX_DEFERRING = 100
#: How long a hungry lane waits for a larger share, in seconds: short beside a task's run, long beside a burst's end.
PATIENCE = 0.02


@dataclass(frozen=True, slots=True)
class Poll:
    """A receive to be opened: up to ``limit`` messages; ``brief`` where it must not keep its share for long."""

    lane: Lane
    limit: int
    brief: bool


def plan_polls(
    lanes: Sequence[Lane], *, free_slots: int, batch_size: int, threshold: int, now: float
) -> tuple[list[Poll], float | None]:
    """Return the polls to open now, and when to ask again where a lane is being patient or left alone.

    What is held without a slot and what open polls ask for never exceed, in sum, the free slots plus one message a
    lane. That one lets every lane be polled while all slots are busy, so that a task of a high level is at hand when
    the next slot frees. A hungry lane whose share is under ``threshold`` messages waits a moment for more slots to
    free, since every receive is a request that costs.
    """
    budget = free_slots + len(lanes) - sum(lane.held + lane.asked for lane in lanes)
    open_lanes = [
        lane for lane in lanes if not lane.paused and lane.blocked_until <= now and lane.deferring < MAX_DEFERRING
    ]
    polls: list[Poll] = []
    moments = [lane.blocked_until for lane in lanes if lane.blocked_until > now and not lane.paused]
    for lane in sorted(open_lanes, key=lambda lane: -lane.level):
        others = sum(1 for other in open_lanes if other is not lane and not other.polls and not other.held)
        limit = min(budget - others, batch_size, MAX_RECEIVE) if lane.hungry else 1
        if min(limit, budget) <= 0 or lane.polls >= lane.width or (not lane.hungry and lane.held):
            continue
        if lane.hungry and limit < threshold and now < (patient_until := _patience(lane, now)):
            moments.append(patient_until)
            continue
        lane.patient_until = None
        if not lane.polls:
            lane.progress_at = now
        lane.polls += 1
        lane.asked += limit
        budget -= limit
        polls.append(Poll(lane, limit, brief=limit > 1))
    return polls, min(moments, default=None)


def _patience(lane: Lane, now: float) -> float:
    if lane.patient_until is None:
        lane.patient_until = now + PATIENCE
    return lane.patient_until


def answered(poll: Poll, found: int, now: float) -> None:
    """Take the answer of a poll into account: ``found`` messages."""
    lane = poll.lane
    lane.polls -= 1
    lane.asked -= poll.limit
    lane.progress_at = now
    lane.failures = 0
    if found == poll.limit:
        lane.width = min(lane.width + 1, MAX_POLLS) if lane.hungry else 1
    elif not found:
        lane.width = 1
    lane.hungry = found > 0


def choose(held: Iterable[Work]) -> Work:
    """Return the held work that the next free slot takes: of the highest level, among equals the longest held.

    Levels of a weighted priority queue share by smooth weighted round robin, each level twice the one below, so that
    none starves.
    """
    waiting = list(held)
    first = max(waiting, key=lambda work: work.lane.level)
    if first.lane.policy is LevelPolicy.STRICT:
        return first
    lanes = {work.lane: work for work in reversed(waiting) if work.lane.name == first.lane.name}
    total = 0
    for lane in lanes:
        lane.credit += 2**lane.level
        total += 2**lane.level
    chosen = max(lanes, key=lambda lane: lane.credit)
    chosen.credit -= total
    return lanes[chosen]
