"""Purges, pauses and probes: the commands that operators and readiness checks cause."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from mcp_queue.adapters.sqlite.engine.command import Transaction, WriteCommand
from mcp_queue.adapters.sqlite.fifo import promote_heads

#: Messages that one transaction deletes: a purge of millions must not lock the file for seconds.
PURGED_AT_ONCE = 2000

_LAST = "SELECT value FROM counters WHERE name = 'accepted'"
_PURGEABLE = """
    SELECT seq, group_key, line FROM messages
    WHERE queue = ? AND seq <= ? AND NOT (receipt IS NOT NULL AND visible_at > ?) LIMIT ?
"""
_DELETE = "DELETE FROM messages WHERE seq IN (SELECT value FROM json_each(?))"


class PurgeProgress(NamedTuple):
    """How many messages one step deleted, and the number of the last message that belongs to the purge."""

    deleted: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Purge(WriteCommand[PurgeProgress]):
    """Delete some messages up to ``last`` that are not in flight; the first step determines ``last``."""

    queue: str
    last: int | None = None

    @property
    def weight(self) -> int:
        """Fill a transaction."""
        return PURGED_AT_ONCE

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> list[PurgeProgress | Exception]:
        """Take one step of each purge."""
        return [command.step(transaction) for command in commands]

    def step(self, transaction: Transaction) -> PurgeProgress:
        """Delete as many as one transaction takes."""
        execute = transaction.connection.execute
        last = int(execute(_LAST).fetchone()[0]) if self.last is None else self.last
        found = execute(_PURGEABLE, (self.queue, last, transaction.now, PURGED_AT_ONCE)).fetchall()
        execute(_DELETE, (json.dumps([seq for seq, _, _ in found]),))
        if groups := {group for _, group, line in found if line}:
            promote_heads(transaction, self.queue, groups)
        return PurgeProgress(len(found), last)


@dataclass(frozen=True, slots=True, eq=False)
class SetPaused(WriteCommand[None]):
    """Pause or resume a queue."""

    queue: str
    paused: bool

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> list[Exception | None]:
        """Store each change, in the order given."""
        for command in commands:
            statement = "INSERT OR IGNORE INTO paused_queues VALUES (?)" if command.paused else _RESUME
            transaction.connection.execute(statement, (command.queue,))
        return [None] * len(commands)


_RESUME = "DELETE FROM paused_queues WHERE queue = ?"


@dataclass(frozen=True, slots=True, eq=False)
class Ping(WriteCommand[None]):
    """Write something that changes nothing: a full disk can be read, and locked."""

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> list[Exception | None]:
        """Write the version of the schema once more."""
        (version,) = transaction.connection.execute("PRAGMA user_version").fetchone()
        transaction.connection.execute(f"PRAGMA user_version = {int(version)}")
        return [None] * len(commands)
