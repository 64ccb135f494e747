"""Ends leases, and extends them."""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from mcp_queue.adapters.sqlite.dead_letters import DeadLetterTarget, move
from mcp_queue.adapters.sqlite.engine.command import Transaction, WriteCommand, microseconds
from mcp_queue.adapters.sqlite.fifo import promote_heads
from mcp_queue.domain.errors import VisibilityTimeoutError
from mcp_queue.domain.queues import MAX_LEASE

# CROSS JOIN keeps SQLite from walking through all messages instead of through what is asked for.
_LEASED = """
    SELECT seq, receipt, queue, group_key, line, received_at, attributes FROM json_each(?) AS asked CROSS JOIN messages
    WHERE seq = json_extract(asked.value, '$[0]') AND receipt = json_extract(asked.value, '$[1]')
"""
_DELETE = "DELETE FROM messages WHERE seq IN (SELECT value FROM json_each(?))"
_EXTEND = "UPDATE messages SET visible_at = ? WHERE seq = ?"
_RELEASE = """
    UPDATE messages SET visible_at = :now, receipt = NULL, received_at = :now, receive_count = receive_count - 1
    WHERE seq = :seq
"""
_REQUEUE = """
    UPDATE messages SET visible_at = ?, receipt = NULL, received_at = ?, receive_count = 0, attributes = ?, body = ?
    WHERE seq = ?
"""
_REWRITE = "UPDATE messages SET attributes = ?, body = coalesce(?, body) WHERE seq = ?"


class Receipt(NamedTuple):
    """One receive of one message. It stays valid after its lease has ended, until the message is received again."""

    seq: int
    token: int

    @classmethod
    def of(cls, handle: str) -> "Receipt":
        """Read a receipt handle.

        Raises:
            VisibilityTimeoutError: it is not a receipt handle of this backend.

        """
        seq, _, token = handle.partition("-")
        try:
            return cls(int(seq), int(token))
        except ValueError as error:
            raise VisibilityTimeoutError from error

    def handle(self) -> str:
        """Return it as text."""
        return f"{self.seq}-{self.token}"


class LeasedMessage(NamedTuple):
    """A message whose receipt is valid."""

    seq: int
    token: int
    queue: str
    group: str | None
    line: int | None
    received_at: int
    attributes: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Extend(WriteCommand[None]):
    """Hide a message until ``lease``, in microseconds, from now."""

    receipt: Receipt
    lease: int

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> list[Exception | None]:
        """Extend each lease on its own."""
        leased = _leased(transaction, commands)
        return [command.apply(transaction, leased.get(command.receipt)) for command in commands]

    def apply(self, transaction: Transaction, message: LeasedMessage | None) -> VisibilityTimeoutError | None:
        """Extend the lease on ``message``, or return why not."""
        if message is None:
            return VisibilityTimeoutError()
        until = transaction.now + self.lease
        if until > message.received_at + microseconds(MAX_LEASE):
            return VisibilityTimeoutError("a lease ends 12 hours after the receive at the latest")
        transaction.connection.execute(_EXTEND, (until, message.seq))
        transaction.woken.add(message.queue)  # it may be a shorter lease
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Settle(WriteCommand[None]):
    """A command that ends a lease."""

    receipt: Receipt

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> list[Exception | None]:
        """Settle the messages whose receipt is valid; each receipt can be used once."""
        leased = _leased(transaction, commands)
        found = [(command, leased.pop(command.receipt, None)) for command in commands]
        cls._settle(transaction, [(command, message) for command, message in found if message is not None])
        return [VisibilityTimeoutError() if message is None else None for _, message in found]

    @classmethod
    @abstractmethod
    def _settle(cls, transaction: Transaction, found: Sequence[tuple[Self, LeasedMessage]]) -> None: ...


class Complete(Settle):
    """Delete a message."""

    __slots__ = ()

    @classmethod
    def _settle(cls, transaction: Transaction, found: Sequence[tuple[Self, LeasedMessage]]) -> None:
        transaction.connection.execute(_DELETE, (json.dumps([message.seq for _, message in found]),))
        _promote_next(transaction, [message for _, message in found])


class Release(Settle):
    """Give a message back as if it had not been received."""

    __slots__ = ()

    @classmethod
    def _settle(cls, transaction: Transaction, found: Sequence[tuple[Self, LeasedMessage]]) -> None:
        for _, message in found:
            transaction.connection.execute(_RELEASE, {"now": transaction.now, "seq": message.seq})
            transaction.woken.add(message.queue)


@dataclass(frozen=True, slots=True, eq=False)
class Requeue(Settle):
    """Give a message back with another body, to be received after ``delay`` microseconds."""

    delay: int
    attributes: str | None
    body: str

    @classmethod
    def _settle(cls, transaction: Transaction, found: Sequence[tuple[Self, LeasedMessage]]) -> None:
        for command, message in found:
            now, due = transaction.now, transaction.now + command.delay
            values = (due, now, command.attributes, command.body, message.seq)
            transaction.connection.execute(_REQUEUE, values)
            transaction.woken.add(message.queue)


@dataclass(frozen=True, slots=True, eq=False)
class MoveToDeadLetters(Settle):
    """Move a message to ``target``. Without a ``body`` it keeps its own, and ``attributes`` join those it has."""

    target: DeadLetterTarget
    origin: str
    attributes: Mapping[str, str]
    body: str | None

    @classmethod
    def _settle(cls, transaction: Transaction, found: Sequence[tuple[Self, LeasedMessage]]) -> None:
        for command, message in found:
            kept = read_attributes(message.attributes) if command.body is None else {}
            attributes = write_attributes({**kept, **command.attributes})
            transaction.connection.execute(_REWRITE, (attributes, command.body, message.seq))
            move(transaction, message.seq, command.target, origin=command.origin, redriven=False)
        _promote_next(transaction, [message for _, message in found])


def write_attributes(attributes: Mapping[str, str]) -> str | None:
    """Return attributes as the file stores them."""
    return json.dumps(dict(attributes)) if attributes else None


def read_attributes(text: str | None) -> dict[str, str]:
    """Return attributes from their form in the file."""
    return {} if text is None else dict(json.loads(text))


def _leased(transaction: Transaction, commands: Sequence[Extend] | Sequence[Settle]) -> dict[Receipt, LeasedMessage]:
    asked = json.dumps([command.receipt for command in commands])
    found = (LeasedMessage(*values) for values in transaction.connection.execute(_LEASED, (asked,)))
    return {Receipt(message.seq, message.token): message for message in found}


def _promote_next(transaction: Transaction, settled: Sequence[LeasedMessage]) -> None:
    lines: dict[str, list[str]] = {}
    for message in settled:
        if message.line and message.group is not None:
            lines.setdefault(message.queue, []).append(message.group)
    for queue, groups in lines.items():
        promote_heads(transaction, queue, groups)
