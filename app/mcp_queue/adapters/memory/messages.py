"""Messages in memory, their turns and their copies."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.queues import DEDUPLICATION_WINDOW
from mcp_queue.domain.task import Task


@dataclass(slots=True, kw_only=True, eq=False)
class MemoryMessage:
    """``place`` orders a FIFO queue and is ``None`` until a delayed message comes due.

    ``origin`` is the queue that a dead letter comes from; ``redriven`` if it moved by being received too often.
    """

    message_id: str
    body: str
    attributes: dict[str, str]
    group: str | None
    sent_at: datetime
    visible_at: datetime
    place: int | None
    receive_count: int = 0
    receipt: str | None = None
    received_at: datetime | None = None
    origin: str | None = None
    redriven: bool = False

    def in_flight(self, now: datetime) -> bool:
        """Whether somebody holds it."""
        return self.receipt is not None and self.visible_at > now


def heads(messages: Iterable[MemoryMessage]) -> Iterable[MemoryMessage]:
    """Return the first message of each FIFO group, and those that are delayed and stand in no line yet."""
    first: dict[str, MemoryMessage] = {}
    for message in sorted(messages, key=_line):
        first.setdefault(f"group {message.group}" if message.place is not None else message.message_id, message)
    return first.values()


def turn(message: MemoryMessage) -> tuple[datetime, datetime]:
    """Return what decides whose turn it is among messages that can be received: the smallest is next."""
    return message.visible_at, message.sent_at


def _line(message: MemoryMessage) -> int:
    return -1 if message.place is None else message.place


@dataclass(frozen=True, slots=True)
class _Copy:
    accepted: Accepted
    forgotten_at: datetime


class FirstCopies:
    """What FIFO deduplication remembers."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._copies: dict[str, _Copy] = {}

    def remember(self, task: Task, message_id: str, now: datetime) -> None:
        """Swallow copies of ``task`` from now on."""
        copy = _Copy(Accepted(message_id, duplicate_of=task.id), now + DEDUPLICATION_WINDOW)
        self._copies[_key(task)] = copy

    def of(self, task: Task, now: datetime) -> Accepted | None:
        """Return what is answered to a copy; ``None`` if ``task`` is none."""
        self._copies = {key: copy for key, copy in self._copies.items() if copy.forgotten_at > now}
        copy = self._copies.get(_key(task))
        return None if copy is None else copy.accepted


def _key(task: Task) -> str:
    return task.deduplication_id or task.id
