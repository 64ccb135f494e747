"""Holds what was received and has no slot yet, and picks what runs next."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import count

from mcp_queue.consumer.deferrals import Deferrals
from mcp_queue.consumer.held_delivery import HeldDelivery, Phase
from mcp_queue.consumer.poll_planning import choose

#: A delivery that is to come back later, and after how long.
Deferral = tuple[HeldDelivery, timedelta]


class Unstarted:
    """Deliveries that wait for a slot, or with ``deferrals`` for their destination."""

    def __init__(self, deferrals: Deferrals) -> None:
        self._deferrals = deferrals
        self._held: list[HeldDelivery] = []
        self._turns: dict[str, int] = {}
        self._numbers = count(1)

    def __iter__(self) -> Iterator[HeldDelivery]:
        """Iterate over a copy, so that each may be removed on the way."""
        return iter([*self._held, *self._deferrals.waiting()])

    def add(self, held: HeldDelivery) -> None:
        """Let ``held`` wait for a slot."""
        held.move_to(Phase.HELD)
        self._deferrals.locate(held)
        self._held.append(held)
        held.polled.held += 1

    def remove(self, held: HeldDelivery) -> None:
        """Let ``held`` wait no longer."""
        if held.phase is Phase.WAITING:
            self._deferrals.remove(held)
        else:
            self._held.remove(held)
            held.polled.held -= 1

    def take(self, slots: int) -> tuple[list[HeldDelivery], list[Deferral]]:
        """Remove what begins to run in the free ``slots``, and what must come back later instead; return both."""
        deferred = self._deferrals.take_overdue()
        # With no slot free, what a limit keeps stays where it is: it holds nobody up, and no more is received.
        refused = self._deferrals.refused if slots else self._deferrals.refused_for_long
        for held in [held for held in self._held if refused(held)]:
            deferred += self._wait_or_defer(held)
        starting: list[HeldDelivery] = []
        while len(starting) < slots and (startable := self._deferrals.startable(self._held)):
            held, credit = choose(startable, self._turns)
            for polled, left in credit.items():
                polled.credit = left
            if self._deferrals.refused(held):
                deferred += self._wait_or_defer(held)
                continue
            self.remove(held)
            self._turns[held.polled.name] = next(self._numbers)
            held.move_to(Phase.RUNNING)
            self._deferrals.begin_call(held)
            starting.append(held)
        return starting, deferred

    def _wait_or_defer(self, held: HeldDelivery) -> list[Deferral]:
        """Let a refused delivery wait for its destination, or return after how long it is to come back."""
        self.remove(held)
        delay = self._deferrals.keep(held)
        if delay is not None:
            return [(held, delay)]
        held.move_to(Phase.WAITING)
        return []
