"""Orders the messages of an in-memory queue and remembers their deduplication ids."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.queues import DEDUPLICATION_WINDOW
from mcp_queue.domain.task import Task


@dataclass(slots=True, kw_only=True, eq=False)
class StoredMessage:
    """A message of an in-memory queue.

    ``place`` orders a FIFO queue and is ``None`` until a delayed message is due. ``origin`` is the queue that a dead
    letter comes from; ``redriven`` means that it moved because it was received too often.
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
        """Return whether a consumer holds a lease on it."""
        return self.receipt is not None and self.visible_at > now


def heads(messages: Iterable[StoredMessage]) -> Iterable[StoredMessage]:
    """Return the first message of each FIFO group, and the delayed messages that have no place yet."""
    first: dict[str, StoredMessage] = {}
    for message in sorted(messages, key=_place):
        first.setdefault(f"group {message.group}" if message.place is not None else message.message_id, message)
    return first.values()


def receive_order(message: StoredMessage) -> tuple[datetime, datetime]:
    """Return the sort key of messages that can be received: the smallest is received next."""
    return message.visible_at, message.sent_at


def _place(message: StoredMessage) -> int:
    return -1 if message.place is None else message.place


@dataclass(frozen=True, slots=True)
class _FirstCopy:
    accepted: Accepted
    forgotten_at: datetime


class FirstCopies:
    """Remembers the first task of each deduplication id for five minutes."""

    def __init__(self) -> None:
        self._copies: dict[str, _FirstCopy] = {}

    def remember(self, task: Task, message_id: str, now: datetime) -> None:
        """Treat later tasks with the deduplication id of ``task`` as its copies."""
        copy = _FirstCopy(Accepted(message_id, duplicate_of=task.id), now + DEDUPLICATION_WINDOW)
        self._copies[_key(task)] = copy

    def of(self, task: Task, now: datetime) -> Accepted | None:
        """Return the answer to a copy; ``None`` if ``task`` is not a copy."""
        self._copies = {key: copy for key, copy in self._copies.items() if copy.forgotten_at > now}
        copy = self._copies.get(_key(task))
        return None if copy is None else copy.accepted


def _key(task: Task) -> str:
    return task.deduplication_id or task.id
