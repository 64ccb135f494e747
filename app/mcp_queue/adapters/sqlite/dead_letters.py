"""Moves messages to a dead-letter queue of the same file."""

from typing import NamedTuple

from mcp_queue.adapters.sqlite.engine.command import Transaction
from mcp_queue.adapters.sqlite.fifo import line_up_due, promote_heads

# As a new message there: last in order, never received, as old as its stay in that queue.
_MOVE = """
    UPDATE messages SET queue = :queue, seq = :number, origin = :origin,
      redriven = :redriven, sent_at = :now, visible_at = :visible_at, line = :line,
      group_key = CASE WHEN :line IS NULL THEN group_key ELSE coalesce(group_key, :group) END,
      receive_count = 0, receipt = NULL, received_at = NULL
    WHERE seq = :seq
"""
_GROUP = "SELECT group_key FROM messages WHERE seq = ?"


class DeadLetterTarget(NamedTuple):
    """A dead-letter queue. ``group`` is the FIFO group of messages without one; ``None`` on standard queues."""

    queue: str
    group: str | None


def move(transaction: Transaction, seq: int, target: DeadLetterTarget, *, origin: str, redriven: bool) -> None:
    """Put the message ``seq`` at the end of ``target``."""
    fifo = target.group is not None
    if fifo:
        line_up_due(transaction, target.queue)
    [number] = transaction.numbers(1)
    values = {
        "seq": seq,
        "number": number,
        "queue": target.queue,
        "group": target.group,
        "origin": origin,
        "redriven": redriven,
        "now": transaction.now,
        "visible_at": None if fifo else transaction.now,
        "line": number if fifo else None,
    }
    transaction.connection.execute(_MOVE, values)
    transaction.woken.add(target.queue)
    if fifo:
        (group,) = transaction.connection.execute(_GROUP, (number,)).fetchone()
        promote_heads(transaction, target.queue, [group])
