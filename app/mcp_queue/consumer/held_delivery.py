"""Follows one delivery through the consumer, from its receive to its end.

    RECEIVED ──▶ HELD ──▶ RUNNING ──▶ ENDED
        │        │  │      ▲   │        ▲
        │        │  │      │   ▼        │
        │        │  │      │ STALLED ───┤
        │        │  ▼      │            │
        │        │ WAITING ┴────────────┤
        │        ▼  ▼                   │
        └──▶ RETURNING ─────────────────┘

A delivery is HELD while it waits for a slot, WAITING while it waits for its destination without one, and RUNNING from
when it has a slot until it is settled. STALLED keeps no slot: it is being settled by a queue that is slow to take that
or refuses it, or it is a suspect, which runs beside everything else. RETURNING is being released or deferred without
having run. A follower stays RECEIVED until the one before it in its FIFO group is gone. HELD and WAITING end at once
when the lease is lost.

Each member has one owner: ``phase``, ``followers`` and ``stop`` belong to the worker pool, ``target`` to the deferrals,
``interruptible`` to the attempt that runs.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum, auto
from types import MappingProxyType

from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.domain.callbacks.destinations import Target
from mcp_queue.domain.delivery import Delivery
from mcp_queue.services.execution.admission import Received
from mcp_queue.services.execution.attempts import Stop


class Phase(StrEnum):
    """Where in the consumer a delivery is."""

    RECEIVED = auto()
    HELD = auto()
    WAITING = auto()
    RUNNING = auto()
    STALLED = auto()
    RETURNING = auto()
    ENDED = auto()


_NEXT = MappingProxyType(
    {
        Phase.RECEIVED: (Phase.HELD, Phase.RETURNING),
        Phase.HELD: (Phase.RUNNING, Phase.WAITING, Phase.RETURNING, Phase.ENDED),
        Phase.WAITING: (Phase.RUNNING, Phase.RETURNING, Phase.ENDED),
        Phase.RUNNING: (Phase.STALLED, Phase.ENDED),
        Phase.STALLED: (Phase.ENDED,),
        Phase.RETURNING: (Phase.ENDED,),
        Phase.ENDED: (),
    }
)


@dataclass(slots=True, eq=False)
class HeldDelivery:
    """A delivery whose lease the consumer keeps.

    ``followers`` came in the same receive and belong to the same FIFO group: they start one after another, each when
    the backend has confirmed the settlement of the one before. ``target`` is the destination that the task calls if it
    runs.
    """

    delivery: Delivery
    polled: PolledQueue
    followers: "deque[HeldDelivery]" = field(default_factory=deque)
    phase: Phase = Phase.RECEIVED
    stop: Stop | None = None
    interruptible: bool = False
    target: Target | None = None

    @property
    def received(self) -> Received:
        """The delivery as admission and settlement take it."""
        followers = [follower.delivery for follower in self.followers] if self.followers else ()
        return Received(self.polled.queue, self.delivery, followers)

    def move_to(self, phase: Phase) -> None:
        """Go on to ``phase``."""
        assert phase in _NEXT[self.phase], f"a delivery goes from {self.phase.name} to {phase.name}"
        self.phase = phase
