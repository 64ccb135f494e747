"""Keeps each FIFO group in a line, of which only the head can be received."""

from collections.abc import Iterable

from mcp_queue.adapters.sqlite.engine.command import Transaction
from mcp_queue.adapters.sqlite.rows import in_chunks, placeholders

# Its acceptance, not this moment: groups take turns by the age of their heads. Bounded, since a clock may step back.
_PROMOTE = """
    WITH lines (group_key) AS (VALUES {rows})
    UPDATE messages SET visible_at = min(sent_at, ?)
    WHERE visible_at IS NULL AND seq IN (
      SELECT (
        SELECT seq FROM messages WHERE queue = ? AND group_key = lines.group_key AND line > 0 ORDER BY line LIMIT 1
      ) FROM lines
    )
"""
_DUE = "SELECT seq, group_key FROM messages WHERE queue = ? AND line = 0 AND visible_at <= ? ORDER BY visible_at, seq"
_PLACE = "UPDATE messages SET line = ?, visible_at = NULL WHERE seq = ?"


def promote_heads(transaction: Transaction, queue: str, groups: Iterable[str]) -> None:
    """Make the first message of each group receivable, if the one before it is gone."""
    for names in in_chunks(sorted(set(groups))):
        statement = _PROMOTE.format(rows=placeholders(1, len(names)))
        transaction.connection.execute(statement, (*names, transaction.now, queue))
    transaction.woken.add(queue)


def line_up_due(transaction: Transaction, queue: str) -> None:
    """Append delayed messages that are due to their line, before a later message joins it."""
    due = transaction.connection.execute(_DUE, (queue, transaction.now)).fetchall()
    if due:
        places = [(place, seq) for place, (seq, _) in zip(transaction.numbers(len(due)), due, strict=True)]
        transaction.connection.executemany(_PLACE, places)
        promote_heads(transaction, queue, [group for _, group in due])
