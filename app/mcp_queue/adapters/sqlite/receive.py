"""Receiving messages."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from mcp_queue.adapters.sqlite.dead_letters import Shelf, move
from mcp_queue.adapters.sqlite.engine.command import Command, Transaction, microseconds
from mcp_queue.adapters.sqlite.fifo import line_up_due, promote_heads
from mcp_queue.domain.queues import QueueSpec

# The comparison is for the index: without it SQLite walks past all that stand behind a head.
_NEXT = "SELECT min(visible_at) FROM messages WHERE queue = ? AND visible_at >= 0"
_READY = """
    SELECT seq, message_id, body, attributes, group_key, sent_at, receive_count, origin, redriven FROM messages
    WHERE queue = ? AND visible_at <= ? ORDER BY visible_at, sent_at, seq LIMIT ?
"""
_LEASE = """
    UPDATE messages SET receipt = ?, received_at = ?, visible_at = ?, receive_count = receive_count + 1
    WHERE seq IN (SELECT value FROM json_each(?))
"""


class Row(NamedTuple):
    """A message as it was found; ``receive_count`` is what it was before."""

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
class Found:
    """Rows and the token that they are leased with, or when the next one can be received."""

    rows: Sequence[Row] = ()
    receipt: int = 0
    due: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Receive(Command[Found]):
    """Lease up to ``limit`` messages; those received too often already move to ``dead_letters`` instead."""

    spec: QueueSpec
    limit: int
    dead_letters: Shelf | None

    def peek(self, transaction: Transaction) -> Found | None:
        """Answer for an empty queue, so that polling it never takes the file's lock."""
        due = _due(transaction, self.spec.name)
        return Found(due=due) if due is None or due > transaction.now else None

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> list[Found | Exception]:
        """Serve one receiver after the other."""
        return [command.lease(transaction) for command in commands]

    def lease(self, transaction: Transaction) -> Found:
        """Lease what is ready for this one receiver."""
        if self.spec.fifo:
            line_up_due(transaction, self.spec.name)
        rows = self._ready(transaction)
        if not rows:
            return Found(due=_due(transaction, self.spec.name))
        receipt = secrets.randbits(63)
        hidden_until = transaction.now + microseconds(self.spec.visibility_timeout)
        leased = json.dumps([row.seq for row in rows])
        transaction.connection.execute(_LEASE, (receipt, transaction.now, hidden_until, leased))
        return Found(rows, receipt)

    def _ready(self, transaction: Transaction) -> list[Row]:
        while True:
            found = transaction.connection.execute(_READY, (self.spec.name, transaction.now, self.limit))
            rows = [Row(*values) for values in found]
            worn = [row for row in rows if self.dead_letters and row.receive_count >= self.spec.max_receive_count]
            if not worn:
                return rows
            self._dead_letter(transaction, worn)

    def _dead_letter(self, transaction: Transaction, worn: Sequence[Row]) -> None:
        assert self.dead_letters is not None
        for row in worn:
            move(transaction, row.seq, self.dead_letters, origin=self.spec.public_name, redriven=True)
        if self.spec.fifo:
            promote_heads(transaction, self.spec.name, (row.group for row in worn if row.group is not None))


def _due(transaction: Transaction, queue: str) -> int | None:
    (due,) = transaction.connection.execute(_NEXT, (queue,)).fetchone()
    return None if due is None else int(due)
