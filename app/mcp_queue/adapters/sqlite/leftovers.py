"""Finds what lies in the file under names of queues that are embedded no more."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, Self

from mcp_queue.adapters.sqlite.engine.command import Transaction, WriteCommand
from mcp_queue.adapters.sqlite.engine.errors import translated
from mcp_queue.adapters.sqlite.engine.schema import connect

_COUNTS = """
    SELECT queue, sum(messages), EXISTS (
      SELECT 1 FROM messages WHERE messages.queue = depths.queue AND line IS NOT NULL
    ) FROM depths GROUP BY queue HAVING sum(messages) > 0 ORDER BY queue
"""
_REVEAL = "UPDATE messages SET visible_at = ? WHERE queue = ? AND visible_at > ? AND receipt IS NULL"
_BUSY_TIMEOUT = timedelta(seconds=5)


class Leftover(NamedTuple):
    """The messages of one queue, delayed and running ones too; ``fifo``: its groups are to be kept in order."""

    queue: str
    messages: int
    fifo: bool


def leftovers_in(path: Path, embedded: Collection[str]) -> list[Leftover]:
    """Return what lies in the file at ``path``, if there is one, but not in the queues ``embedded``.

    Raises:
        BackendUnavailableError: the file cannot be read.

    """
    if not path.exists():
        return []
    try:
        connection = connect(path, _BUSY_TIMEOUT)
        try:
            found = [Leftover(queue, messages, bool(fifo)) for queue, messages, fifo in connection.execute(_COUNTS)]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translated(error) from error
    return [leftover for leftover in found if leftover.queue not in embedded]


@dataclass(frozen=True, slots=True, eq=False)
class Reveal(WriteCommand[None]):
    """Let everything in ``queue`` be received that is not leased; a scheduled task says itself when it is due."""

    queue: str

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> list[Exception | None]:
        """Reveal each queue."""
        for command in commands:
            transaction.connection.execute(_REVEAL, (transaction.now, command.queue, transaction.now))
            transaction.woken.add(command.queue)
        return [None] * len(commands)
