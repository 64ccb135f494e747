"""Puts tasks into queues of the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import NamedTuple, Self

from mcp_queue.adapters.sqlite.engine.command import Transaction, WriteCommand, microseconds
from mcp_queue.adapters.sqlite.fifo import line_up_due, promote_heads
from mcp_queue.adapters.sqlite.rows import in_chunks, placeholders
from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import QueueError, QueueFullError
from mcp_queue.domain.queues import DEDUPLICATION_WINDOW, QueueSpec

_INSERT = """
    INSERT INTO messages (seq, queue, visible_at, sent_at, line, group_key, message_id, attributes, body) VALUES {rows}
"""
_DEPTH = "SELECT coalesce(sum(messages), 0) FROM depths WHERE queue = ?"
_FORGET = "DELETE FROM first_copies WHERE forgotten_at <= ?"
_KNOWN = """
    SELECT deduplication_id, task_id, message_id FROM first_copies
    WHERE queue = ? AND deduplication_id IN (VALUES {rows})
"""
_REMEMBER = """
    INSERT INTO first_copies (queue, deduplication_id, task_id, message_id, forgotten_at) VALUES {rows}
"""

Verdict = Accepted | QueueError


class Entry(NamedTuple):
    """One task as its row. ``due`` is ``None`` for at once. A tuple, since one is made for every task."""

    task_id: str
    message_id: str
    body: str
    attributes: str | None
    group: str | None
    deduplication_id: str
    due: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Enqueue(WriteCommand[list[Verdict]]):
    """Put ``entries`` into a queue, in order; each has its own verdict."""

    spec: QueueSpec
    entries: Sequence[Entry]

    @property
    def weight(self) -> int:
        """Count its rows."""
        return len(self.entries)

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> list[list[Verdict] | Exception]:
        """Insert the rows of each queue together."""
        by_queue: dict[str, list[Self]] = {}
        for command in commands:
            by_queue.setdefault(command.spec.name, []).append(command)
        outcomes: dict[Self, list[Verdict]] = {}
        for asked in by_queue.values():
            entries = list(chain.from_iterable(command.entries for command in asked))
            verdicts = iter(_insert(transaction, asked[0].spec, entries))
            outcomes.update({command: list(islice(verdicts, len(command.entries))) for command in asked})
        return [outcomes[command] for command in commands]


def _insert(transaction: Transaction, spec: QueueSpec, entries: Sequence[Entry]) -> list[Verdict]:
    firsts = _first_copies(transaction, spec, entries) if spec.fifo else {}
    room = _room(transaction, spec)
    verdicts: list[Verdict] = []
    accepted: list[Entry] = []
    for entry in entries:
        if (first := firsts.get(entry.deduplication_id)) is not None:
            verdicts.append(Accepted(first[1], duplicate_of=first[0]))
        elif room is not None and len(accepted) >= room:
            verdicts.append(QueueFullError())
        else:
            accepted.append(entry)
            verdicts.append(Accepted(entry.message_id))
            if spec.fifo:
                firsts[entry.deduplication_id] = (entry.task_id, entry.message_id)
    if accepted:
        _insert_rows(transaction, spec, accepted)
        transaction.woken.add(spec.name)
    return verdicts


def _first_copies(transaction: Transaction, spec: QueueSpec, entries: Sequence[Entry]) -> dict[str, tuple[str, str]]:
    """Return task id and message id of what was accepted in the last five minutes, by deduplication id."""
    transaction.connection.execute(_FORGET, (transaction.now,))
    known: dict[str, tuple[str, str]] = {}
    for chunk in in_chunks(entries):
        asked = (spec.name, *(entry.deduplication_id for entry in chunk))
        for key, task_id, message_id in transaction.connection.execute(
            _KNOWN.format(rows=placeholders(1, len(chunk))), asked
        ):
            known[key] = (task_id, message_id)
    return known


def _room(transaction: Transaction, spec: QueueSpec) -> int | None:
    if spec.max_depth is None:
        return None
    (depth,) = transaction.connection.execute(_DEPTH, (spec.name,)).fetchone()
    return max(spec.max_depth - int(depth), 0)


def _insert_rows(transaction: Transaction, spec: QueueSpec, entries: Sequence[Entry]) -> None:
    if spec.fifo:
        line_up_due(transaction, spec.name)
    numbered = zip(transaction.numbers(len(entries)), entries, strict=True)
    _write(transaction, _INSERT, [_row(transaction.now, spec, number, entry) for number, entry in numbered])
    if spec.fifo:
        forgotten_at = transaction.now + microseconds(DEDUPLICATION_WINDOW)
        copies = [(spec.name, of.deduplication_id, of.task_id, of.message_id, forgotten_at) for of in entries]
        _write(transaction, _REMEMBER, copies)
        promote_heads(transaction, spec.name, (entry.group for entry in entries if entry.group is not None))


def _write(transaction: Transaction, statement: str, rows: Sequence[tuple[str | int | None, ...]]) -> None:
    for chunk in in_chunks(rows):
        written = statement.format(rows=placeholders(len(chunk[0]), len(chunk)))
        transaction.connection.execute(written, tuple(chain.from_iterable(chunk)))


def _row(now: int, spec: QueueSpec, number: int, entry: Entry) -> tuple[str | int | None, ...]:
    due = now if entry.due is None or entry.due <= now else entry.due
    # A FIFO message that is due stands in its line, hidden until it is the head; a delayed one waits beside it.
    line = (number if due == now else 0) if spec.fifo else None
    visible_at = None if line else due
    return (number, spec.name, visible_at, now, line, entry.group, entry.message_id, entry.attributes, entry.body)
