"""Decides which deliveries wait here for their destination, and which are given back to come again later."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf

from mcp_queue.consumer.call_limits import DestinationRegistry, Permit, Refusal
from mcp_queue.consumer.held_delivery import HeldDelivery
from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.domain.callbacks.destinations import Target, call_failed
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock
from mcp_queue.services.execution.admission import Attempt, Disposition, disposition_of

#: How many deliveries of one FIFO queue wait here however long it takes: each keeps memory and a lease.
MAX_WAITING = 1000
#: How many of one queue wait for one destination that may be free in moments.
MAX_BRIEF = 100
#: How long such a task waits before it is given back, in seconds.
LONGEST_WAIT = 5.0
#: The shortest deferral, in seconds: coming back costs requests.
SHORTEST_DEFERRAL = 5.0
#: How much longer than asked for a deferral may be, so that tasks that left together do not come back together.
JITTER = 0.25
#: How long deliveries of a FIFO queue are hidden that are too many to wait here.
HIDDEN = timedelta(minutes=15)


@dataclass(slots=True, eq=False)
class _WaitingList:
    """What waits for one destination from one queue, in order of arrival, each until when at the latest.

    ``ask_at`` is when to ask again whether the destination is free. Moments are monotonic readings in seconds.
    """

    target: Target
    polled: PolledQueue
    until: dict[HeldDelivery, float] = field(default_factory=dict)
    ask_at: float = 0.0

    @property
    def first(self) -> HeldDelivery:
        return next(iter(self.until))


class Deferrals:
    """Keeps what waits for a destination, without a slot and with its lease extended, and the permits of calls.

    A delivery of a FIFO queue waits here however long it takes: sent again, it would lose its place in its group. Any
    other waits only for what may be over in moments, and else is given back to come again later. ``locate`` returns
    the destination that a task calls.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        random: Callable[[], float],
        registry: DestinationRegistry,
        locate: Callable[[Task], Target | None],
    ) -> None:
        self._clock = clock
        self._random = random
        self._registry = registry
        self._locate = locate
        self._waiting: dict[tuple[str, PolledQueue], _WaitingList] = {}
        self._counts: Counter[PolledQueue] = Counter()
        self._permits: dict[Delivery, Permit] = {}
        self._held_first = False
        self._on_change: Callable[[], None] = _ignore
        registry.on_change(self._wake)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when something that waits may have become free."""
        self._on_change = listener

    def locate(self, held: HeldDelivery) -> None:
        """Note which destination ``held`` calls if it runs; what ends or waits for another reason calls none."""
        task, queue = held.delivery.task, held.polled.queue
        target = None if task is None else self._locate(task)
        if task is not None and target is not None:
            disposition = disposition_of(held.delivery, task, queue.spec, self._clock.now(), counts_crashes=True)
            target = target if disposition is Disposition.RUN else None
        held.target = target

    def refused(self, held: HeldDelivery) -> bool:
        """Whether ``held`` must not run at this moment."""
        return self._refusal(held) is not None

    def refused_for_long(self, held: HeldDelivery) -> bool:
        """Whether ``held`` must not run for some time."""
        refusal = self._refusal(held)
        return refusal is not None and not refusal.brief

    def startable(self, held: list[HeldDelivery]) -> list[HeldDelivery]:
        """Return what a slot may take of ``held`` and of what waits here and is free now; some of ``held`` may not be.

        The two stand first in turns, so that neither starves the other. Nothing overtakes what came before it from
        the same queue for the same destination.
        """
        if not self._waiting:
            return held
        now = self._clock.monotonic()
        ready = [waiting.first for waiting in self._waiting.values() if self._free(waiting, now)]
        others = [each for each in held if each.target is None or (each.target.name, each.polled) not in self._waiting]
        self._held_first = not self._held_first
        return others + ready if self._held_first else ready + others

    def begin_call(self, held: HeldDelivery) -> None:
        """Let ``held`` run; if it is to call its destination, the call is counted from now on."""
        if held.target is not None and self._registry.refusal(held.target) is None:
            self._permits[held.delivery] = self._registry.enter(held.target)

    def executed(self, attempt: Attempt, error: BaseException | None) -> None:
        """Note how the call ended that an attempt made."""
        self.end_call(attempt.delivery, failed=call_failed(error))

    def end_call(self, delivery: Delivery, *, failed: bool | None = None) -> None:
        """End the call of a delivery, if one is counted; ``failed`` is ``None`` where it was not made."""
        permit = self._permits.pop(delivery, None)
        if permit is not None:
            permit.end(failed=failed)

    def keep(self, held: HeldDelivery) -> timedelta | None:
        """Let a refused ``held`` wait here, or return after how long it is to be received again."""
        refusal = self._refusal(held)
        assert held.target is not None
        assert refusal is not None
        fifo, waiting = held.polled.queue.spec.fifo, self._counts[held.polled] + 1 + len(held.followers)
        # Beside a destination that fills the queue's places for long, others still have some for moments.
        if refusal.brief and waiting <= 2 * MAX_WAITING and self._soon(held.target, held.polled):
            self._add(held, held.target, inf if fifo else self._clock.monotonic() + LONGEST_WAIT)
            return None
        if not fifo:
            return self._deferral(held.target, refusal)
        if waiting <= MAX_WAITING:
            self._add(held, held.target, inf)
        if waiting > MAX_WAITING or not refusal.brief:
            self._registry.defer(held.target, refusal)
        return None if waiting <= MAX_WAITING else HIDDEN

    def take_overdue(self) -> list[tuple[HeldDelivery, timedelta]]:
        """Remove what has waited long enough, or for what takes longer now; return it, each with its deferral."""
        now = self._clock.monotonic()
        overdue = []
        for waiting in [waiting for waiting in self._waiting.values() if not waiting.polled.queue.spec.fifo]:
            refusal = self._registry.refusal(waiting.target)
            while refusal is not None and waiting.until:
                held = waiting.first
                if refusal.brief and now < waiting.until[held]:
                    break
                self.remove(held)
                overdue.append((held, self._deferral(waiting.target, refusal)))
        return overdue

    def waiting(self) -> list[HeldDelivery]:
        """Return what waits here."""
        return [held for waiting in self._waiting.values() for held in waiting.until]

    def remove(self, held: HeldDelivery) -> None:
        """Let ``held`` wait no longer."""
        assert held.target is not None
        key = held.target.name, held.polled
        waiting = self._waiting.pop(key)
        del waiting.until[held]
        self._counts[held.polled] -= 1 + len(held.followers)
        self._registry.wait(held.target, -1)
        if waiting.until:
            # Behind the others, which have their turn first; and not known to be free any more.
            self._waiting[key] = waiting
            waiting.ask_at = 0.0

    def next_moment(self) -> float | None:
        """Return when something here changes by the passing of time alone, a monotonic reading."""
        now = self._clock.monotonic()
        moments = [
            moment for waiting in self._waiting.values() for moment in (waiting.ask_at, waiting.until[waiting.first])
        ]
        return min((moment for moment in moments if now < moment < inf), default=None)

    def _refusal(self, held: HeldDelivery) -> Refusal | None:
        return None if held.target is None else self._registry.refusal(held.target)

    def _free(self, waiting: _WaitingList, now: float) -> bool:
        if now < waiting.ask_at:
            return False
        refusal = self._registry.refusal(waiting.target)
        waiting.ask_at = 0.0 if refusal is None else refusal.again_at
        return refusal is None

    def _soon(self, target: Target, polled: PolledQueue) -> bool:
        waiting = self._waiting.get((target.name, polled))
        count = len(waiting.until) if waiting else 0
        return count < MAX_BRIEF and count * self._registry.pace(target) < LONGEST_WAIT

    def _add(self, held: HeldDelivery, target: Target, until: float) -> None:
        waiting = self._waiting.setdefault((target.name, held.polled), _WaitingList(target, held.polled))
        waiting.until[held] = until
        self._counts[held.polled] += 1 + len(held.followers)
        self._registry.wait(target, 1)

    def _deferral(self, target: Target, refusal: Refusal) -> timedelta:
        seconds = max(self._registry.defer(target, refusal), SHORTEST_DEFERRAL)
        return timedelta(seconds=seconds * (1 + JITTER * self._random()))

    def _wake(self, name: str | None) -> None:
        for waiting in self._waiting.values():
            if name in {None, waiting.target.name}:
                waiting.ask_at = 0.0
        self._on_change()


def _ignore() -> None:
    """Nothing waits before the pool runs."""
