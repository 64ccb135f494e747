"""Writes many rows by one statement: each statement may wait for the interpreter's lock, so few are better.

Texts are passed as parameters, never through SQLite's JSON functions, which end a text at its first NUL.
"""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TypeVar

Item = TypeVar("Item")

# Each number of rows is a statement of its own, which the connection keeps prepared.
_CHUNK = 64


def in_chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Yield ``items`` in parts that fit into one statement."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def placeholders(columns: int, rows: int) -> str:
    """Return the placeholders of parameters: ``(?, ?), (?, ?)`` for two rows of two columns."""
    row = f"({', '.join(repeat('?', columns))})"
    return ", ".join(repeat(row, rows))
