"""Leases messages to receivers."""

import json
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from mcp_queue.adapters.sqlite.dead_letters import DeadLetterTarget, move
from mcp_queue.adapters.sqlite.engine.command import Transaction, WriteCommand, microseconds
from mcp_queue.adapters.sqlite.fifo import line_up_due, promote_heads
from mcp_queue.domain.queues import QueueSpec

# The comparison is for the index: without it SQLite walks past all that stand behind a head.
_NEXT = "SELECT min(visible_at) FROM messages WHERE queue = ? AND visible_at >= 0"
_COLUMNS = "seq, message_id, body, attributes, group_key, sent_at, receive_count, origin, redriven"
_READY = f"""
    SELECT {_COLUMNS} FROM messages
    WHERE queue = ? AND visible_at <= ? ORDER BY visible_at, sent_at, seq LIMIT ?
"""  # noqa: S608  # constants
_LEASE = """
    UPDATE messages SET receipt = ?, received_at = ?, visible_at = ?, receive_count = receive_count + 1
    WHERE seq IN (SELECT value FROM json_each(?))
"""


# The inner query is answered by an index alone.
_BROWSE = f"""
    SELECT {_COLUMNS} FROM messages WHERE seq IN (
      SELECT seq FROM messages INDEXED BY messages_turn WHERE queue = ? AND seq > ? ORDER BY seq LIMIT ?
    ) ORDER BY seq
"""  # noqa: S608  # constants
_FREE = f"""
    SELECT {_COLUMNS} FROM messages WHERE queue = ? AND seq = ? AND NOT (receipt IS NOT NULL AND visible_at > ?)
"""  # noqa: S608  # constants


class MessageRow(NamedTuple):
    """A message as it was before this receive, its ``receive_count`` too."""

    seq: int
    message_id: str
    body: str
    attributes: str | None
    group: str | None
    sent_at: int
    receive_count: int
    origin: str
    redriven: int


@dataclass(frozen=True, slots=True)
class LeasedRows:
    """Messages and the token of their lease, or the time at which the next message can be received."""

    rows: Sequence[MessageRow] = ()
    receipt: int = 0
    next_due: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Receive(WriteCommand[LeasedRows]):
    """Lease up to ``limit`` messages. Those that were received too often move to ``dead_letters`` instead."""

    spec: QueueSpec
    limit: int
    dead_letters: DeadLetterTarget | None

    def peek(self, transaction: Transaction) -> LeasedRows | None:
        """Return the answer for an empty queue, so that polling it never takes the file's lock."""
        due = _due(transaction, self.spec.name)
        return LeasedRows(next_due=due) if due is None or due > transaction.now else None

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> list[LeasedRows | Exception]:
        """Serve one receiver after the other."""
        return [command.lease(transaction) for command in commands]

    def lease(self, transaction: Transaction) -> LeasedRows:
        """Lease messages to this one receiver."""
        if self.spec.fifo:
            line_up_due(transaction, self.spec.name)
        rows = self._ready(transaction)
        if not rows:
            return LeasedRows(next_due=_due(transaction, self.spec.name))
        return _lease(transaction, self.spec, rows)

    def _ready(self, transaction: Transaction) -> list[MessageRow]:
        while True:
            found = transaction.connection.execute(_READY, (self.spec.name, transaction.now, self.limit))
            rows = [MessageRow(*values) for values in found]
            exhausted = [row for row in rows if self.dead_letters and row.receive_count >= self.spec.backend_receives]
            if not exhausted:
                return rows
            self._dead_letter(transaction, exhausted)

    def _dead_letter(self, transaction: Transaction, exhausted: Sequence[MessageRow]) -> None:
        assert self.dead_letters is not None
        for row in exhausted:
            move(transaction, row.seq, self.dead_letters, origin=self.spec.public_name, redriven=True)
        if self.spec.fifo:
            promote_heads(transaction, self.spec.name, (row.group for row in exhausted if row.group is not None))


@dataclass(frozen=True, slots=True, eq=False)
class Take(WriteCommand[LeasedRows]):
    """Lease the message ``seq``, wherever it stands in its group."""

    spec: QueueSpec
    seq: int

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> list[LeasedRows | Exception]:
        """Serve one caller after the other."""
        return [command.lease(transaction) for command in commands]

    def lease(self, transaction: Transaction) -> LeasedRows:
        """Lease the message to this one caller."""
        found = transaction.connection.execute(_FREE, (self.spec.name, self.seq, transaction.now)).fetchall()
        return _lease(transaction, self.spec, [MessageRow(*values) for values in found])


def browse(connection: sqlite3.Connection, queue: str, after: int, limit: int) -> list[MessageRow]:
    """Return the messages of a queue whose number is over ``after``."""
    return [MessageRow(*values) for values in connection.execute(_BROWSE, (queue, after, limit))]


def _lease(transaction: Transaction, spec: QueueSpec, rows: Sequence[MessageRow]) -> LeasedRows:
    receipt = secrets.randbits(63)
    hidden_until = transaction.now + microseconds(spec.visibility_timeout)
    leased = json.dumps([row.seq for row in rows])
    transaction.connection.execute(_LEASE, (receipt, transaction.now, hidden_until, leased))
    return LeasedRows(rows, receipt)


def _due(transaction: Transaction, queue: str) -> int | None:
    (due,) = transaction.connection.execute(_NEXT, (queue,)).fetchone()
    return None if due is None else int(due)
