"""What the writer is asked to do."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, Self, TypeVar

Outcome = TypeVar("Outcome")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(value: timedelta) -> int:
    """Return a duration as the file has it."""
    return value // _MICROSECOND


def timestamp(value: datetime) -> int:
    """Return a time as the file has it: microseconds since 1970."""
    return (value - EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Return the time of a ``timestamp``."""
    return EPOCH + timedelta(microseconds=value)


@dataclass(slots=True)
class Transaction:
    """The moment in which a group of commands happens. ``woken`` are the queues that may have more to receive."""

    connection: sqlite3.Connection
    now: int
    woken: set[str] = field(default_factory=set)


class Command(ABC, Generic[Outcome]):
    """Something that changes the file, together with what others ask for at the same moment."""

    __slots__ = ()

    @property
    def weight(self) -> int:
        """About how many rows it touches; the sum of a transaction is bounded."""
        return 1

    def peek(self, transaction: Transaction) -> Outcome | None:  # noqa: ARG002  # for those that override it
        """Return the outcome where it takes no change of the file to know it."""
        return None

    @classmethod
    @abstractmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> Sequence[Outcome | Exception]:
        """Do all ``commands``; return their outcomes in the order given. What is refused changes nothing."""
