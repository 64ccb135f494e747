"""The base of the commands that the writer applies, and how they see a transaction."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, Self, TypeVar

Outcome = TypeVar("Outcome")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TAKE_NUMBERS = "UPDATE counters SET value = value + ? WHERE name = 'accepted' RETURNING value"


def microseconds(value: timedelta) -> int:
    """Return a duration as the file stores it."""
    return value // _MICROSECOND


def timestamp(value: datetime) -> int:
    """Return a time as the file stores it: microseconds since 1970."""
    return (value - EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Return the time of a ``timestamp``."""
    return EPOCH + timedelta(microseconds=value)


@dataclass(slots=True)
class Transaction:
    """One transaction. Queues are added to ``woken`` when they may have more to receive."""

    connection: sqlite3.Connection
    now: int
    woken: set[str] = field(default_factory=set)

    def numbers(self, count: int) -> range:
        """Take ``count`` numbers that no message of the file ever had, in ascending order."""
        last = self.connection.execute(_TAKE_NUMBERS, (count,)).fetchall()[0][0]
        return range(last - count + 1, last + 1)


class WriteCommand(ABC, Generic[Outcome]):
    """A change of the file; commands of one class that are submitted together are applied together."""

    __slots__ = ()

    @property
    def weight(self) -> int:
        """Roughly how many rows it touches: the sum over a transaction is bounded."""
        return 1

    def peek(self, transaction: Transaction) -> Outcome | None:  # noqa: ARG002  # for those that override it
        """Return the outcome if it is known without changing the file, else ``None``."""
        return None

    @classmethod
    @abstractmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> Sequence[Outcome | Exception]:
        """Apply all ``commands``; return their outcomes in the order given. A refused command changes nothing."""
