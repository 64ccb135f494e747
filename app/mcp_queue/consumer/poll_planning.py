"""Decides how much to ask each queue for, and what to run next, as pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mcp_queue.consumer.held_delivery import HeldDelivery
from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.domain.queues import LevelPolicy

#: Most messages that one receive can return (SQS).
MAX_RECEIVE = 10
#: Most deliveries of one queue on their way back to come again later, or stalled: beyond these the backend takes them
#: back more slowly than it hands them out.
MAX_DEFERRING = 100
#: How long a productive queue waits for a larger share, in seconds: short beside a task's run, long beside a burst's
#: end.
LINGER = 0.02


@dataclass(frozen=True, slots=True)
class Poll:
    """A receive to be opened: up to ``limit`` messages; ``brief`` where it must not keep its share for long."""

    polled: PolledQueue
    limit: int
    brief: bool


class PollPlan(NamedTuple):
    """The polls to open now, until when queues linger for a larger share, and when to plan again at the latest."""

    polls: list[Poll]
    lingering: Mapping[PolledQueue, float]
    again_at: float | None


class Choice(NamedTuple):
    """What the next free slot takes, and the credit of its queue's levels after that."""

    held: HeldDelivery
    credit: Mapping[PolledQueue, int]


def plan_polls(
    queues: Sequence[PolledQueue], *, free_slots: int, batch_size: int, threshold: int, now: float
) -> PollPlan:
    """Return the polls to open now, and when to ask again where a queue lingers or is left alone.

    What is held without a slot and what open polls ask for never exceed, in sum, the free slots plus one message a
    queue. That one lets every queue be polled while all slots are busy, so that a task of a high level is at hand when
    the next slot frees. A productive queue whose share is under ``threshold`` messages waits a moment for more slots to
    free, since every receive is a request that costs.
    """
    budget = free_slots + len(queues) - sum(each.held + each.asked for each in queues)
    moments = [each.blocked_until for each in queues if each.blocked_until > now and not each.paused]
    ready = [
        each
        for each in queues
        if not each.paused and each.blocked_until <= now and each.deferring + each.stalled < MAX_DEFERRING
    ]
    unasked = {each for each in ready if not each.open_polls and not each.held}
    polls: list[Poll] = []
    lingering: dict[PolledQueue, float] = {}
    for each in sorted(ready, key=lambda each: -each.level):
        others = len(unasked) - (each in unasked)
        limit = min(budget - others, batch_size, MAX_RECEIVE) if each.productive else 1
        if min(limit, budget) <= 0 or each.open_polls >= each.max_polls or (not each.productive and each.held):
            continue
        if each.productive and limit < threshold:
            until = now + LINGER if each.linger_until is None else each.linger_until
            if now < until:
                lingering[each] = until
                continue
        unasked.discard(each)
        budget -= limit
        polls.append(Poll(each, limit, brief=limit > 1))
    return PollPlan(polls, lingering, min([*moments, *lingering.values()], default=None))


def choose(startable: Iterable[HeldDelivery], turns: Mapping[str, int]) -> Choice:
    """Return what the next free slot takes: of the queue whose turn it is the highest level, the longest held first.

    ``turns`` says when each queue, of whatever levels, last had a turn: the lower, the longer ago.
    Levels of a weighted priority queue share by smooth weighted round robin, each level twice the one below, so that
    none starves.
    """
    waiting = list(startable)
    queues = dict.fromkeys(held.polled for held in waiting)
    first = min(queues, key=lambda polled: (turns.get(polled.name, 0), -polled.level))
    if first.policy is LevelPolicy.STRICT:
        return Choice(next(held for held in waiting if held.polled is first), {})
    credit = {level: level.credit + 2**level.level for level in queues if level.name == first.name}
    chosen = max(credit, key=credit.__getitem__)
    credit[chosen] -= sum(2**level.level for level in credit)
    return Choice(next(held for held in waiting if held.polled is chosen), credit)
