"""Deliveries whose destination may not be called now: which wait here without a slot, and which are given back."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf

from mcp_queue.consumer.admission import Verdict, verdict_on
from mcp_queue.consumer.call_limits import DestinationRegistry, Refusal
from mcp_queue.consumer.work import Lane, Work
from mcp_queue.domain.callbacks.destinations import Target
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock

#: How many deliveries of one FIFO queue wait here however long it takes: each keeps memory and a lease.
MAX_PARKED = 1000
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
class _Line:
    """What waits for one destination in one lane, in order of arrival.

    ``look_at`` is when to ask again whether the destination is free, a monotonic reading in seconds.
    """

    target: Target
    lane: Lane
    works: deque[Work] = field(default_factory=deque)
    look_at: float = 0.0


class Deferrals:
    """Keeps what waits for a destination, without a slot and with its lease extended.

    A delivery of a FIFO queue waits here however long it takes: sent again, it would lose its place in its group. Any
    other waits only for what may be over in moments, and else is given back to come again later.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        random: Callable[[], float],
        registry: DestinationRegistry,
        locate: Callable[[Task], Target | None],
    ) -> None:
        """Learn from ``locate`` whom a task calls."""
        self._clock = clock
        self._random = random
        self._registry = registry
        self._locate = locate
        self._lines: dict[tuple[str, Lane], _Line] = {}
        self._parked: Counter[Lane] = Counter()
        self._held_first = False
        self._on_change: Callable[[], None] = _nobody
        registry.on_change(self._wake)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when something that waits may have become free."""
        self._on_change = listener

    def locate(self, work: Work) -> None:
        """Note whom ``work`` calls."""
        task = work.delivery.task
        work.target = None if task is None else self._locate(task)

    def barred(self, work: Work) -> bool:
        """Whether ``work`` must not run for some time."""
        refusal = self._refusal(work)
        return refusal is not None and not refusal.brief

    def refused(self, work: Work) -> bool:
        """Whether ``work`` must not run at this moment."""
        return self._refusal(work) is not None

    def startable(self, held: list[Work]) -> list[Work]:
        """Return what a slot may take of ``held`` and of what waits here and is free now; some of ``held`` may not be.

        The two stand first in turns, so that neither starves the other. Nothing overtakes what came before it from
        the same queue for the same destination.
        """
        if not self._lines:
            return held
        now = self._clock.monotonic()
        ready = [line.works[0] for line in self._lines.values() if self._free(line, now)]
        others = [work for work in held if work.target is None or (work.target.name, work.lane) not in self._lines]
        self._held_first = not self._held_first
        return others + ready if self._held_first else ready + others

    def enter(self, work: Work) -> None:
        """Let ``work`` run; if it is to call its destination, the call is counted from now on."""
        target = self._calls(work)
        if target is not None and self._registry.look(target) is None:
            work.permit = self._registry.enter(target)

    def keep(self, work: Work) -> timedelta | None:
        """Let a refused ``work`` wait here, or return after how long it is to be received again."""
        assert work.target is not None
        refusal = self._registry.look(work.target)
        assert refusal is not None
        fifo, parked = work.lane.queue.spec.fifo, self._parked[work.lane] + 1 + len(work.followers)
        # Beside a destination that fills the queue's places for long, others still have some for moments.
        if refusal.brief and parked <= 2 * MAX_PARKED and self._soon(work.target, work.lane):
            self._park(work, until=inf if fifo else self._clock.monotonic() + LONGEST_WAIT)
            return None
        if not fifo:
            return self._put_off(work.target, refusal)
        if parked <= MAX_PARKED:
            self._park(work, until=inf)
        if parked > MAX_PARKED or not refusal.brief:
            self._registry.put_off(work.target, refusal)
        return None if parked <= MAX_PARKED else HIDDEN

    def leaving(self) -> list[tuple[Work, timedelta]]:
        """Remove what has waited long enough, or for what takes longer now; return it, each with its deferral."""
        now = self._clock.monotonic()
        gone = []
        for line in [line for line in self._lines.values() if not line.lane.queue.spec.fifo]:
            refusal = self._registry.look(line.target)
            while refusal is not None and line.works and not (refusal.brief and now < _until(line.works[0])):
                work = line.works[0]
                self.remove(work)
                gone.append((work, self._put_off(line.target, refusal)))
        return gone

    def waiting(self) -> list[Work]:
        """Return what waits here."""
        return [work for line in self._lines.values() for work in line.works]

    def remove(self, work: Work) -> None:
        """Let ``work`` wait no longer."""
        assert work.target is not None
        key = work.target.name, work.lane
        line = self._lines.pop(key)
        line.works.remove(work)
        work.waits_until = None
        self._parked[work.lane] -= 1 + len(work.followers)
        self._registry.wait(work.target, -1)
        if line.works:
            # Behind the others, which have their turn first; and not known to be free any more.
            self._lines[key] = line
            line.look_at = 0.0

    def next_moment(self) -> float | None:
        """Return when something here changes by the passing of time alone, a monotonic reading."""
        now = self._clock.monotonic()
        moments = [moment for line in self._lines.values() for moment in (line.look_at, _until(line.works[0]))]
        return min((moment for moment in moments if now < moment < inf), default=None)

    def _refusal(self, work: Work) -> Refusal | None:
        refusal = None if work.target is None else self._registry.look(work.target)
        return refusal if refusal is not None and self._calls(work) is not None else None

    def _calls(self, work: Work) -> Target | None:
        """Return whom ``work`` calls if it runs now: what ends or waits for another reason calls nobody."""
        task, queue = work.delivery.task, work.lane.queue
        if task is None or work.target is None:
            return None
        verdict = verdict_on(work.delivery, task, queue.spec, queue.traits, self._clock.now())
        return work.target if verdict is Verdict.RUN else None

    def _free(self, line: _Line, now: float) -> bool:
        if now < line.look_at:
            return False
        refusal = self._registry.look(line.target)
        line.look_at = 0.0 if refusal is None else refusal.again_at
        return refusal is None

    def _soon(self, target: Target, lane: Lane) -> bool:
        line = self._lines.get((target.name, lane))
        waiting = len(line.works) if line else 0
        return waiting < MAX_BRIEF and waiting * self._registry.pace(target) < LONGEST_WAIT

    def _park(self, work: Work, *, until: float) -> None:
        assert work.target is not None
        line = self._lines.setdefault((work.target.name, work.lane), _Line(work.target, work.lane))
        line.works.append(work)
        work.waits_until = until
        self._parked[work.lane] += 1 + len(work.followers)
        self._registry.wait(work.target, 1)

    def _put_off(self, target: Target, refusal: Refusal) -> timedelta:
        seconds = max(self._registry.put_off(target, refusal), SHORTEST_DEFERRAL)
        return timedelta(seconds=seconds * (1 + JITTER * self._random()))

    def _wake(self, name: str | None) -> None:
        for line in self._lines.values():
            if name in {None, line.target.name}:
                line.look_at = 0.0
        self._on_change()


def _until(work: Work) -> float:
    return inf if work.waits_until is None else work.waits_until


def _nobody() -> None:
    """Nothing waits before the pool runs."""
