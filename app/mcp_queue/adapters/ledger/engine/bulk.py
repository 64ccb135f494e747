"""Runs statements about many rows at once, whose rows are one parameter table named ``batch``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

#: A value as both drivers take it.
Value: TypeAlias = "str | int | float | bool | bytes | None"
Row: TypeAlias = "tuple[Value, ...]"


@dataclass(frozen=True, slots=True)
class Bulk:
    """A statement over ``batch``, and the SQL types of its columns in the order of their values.

    ``sql`` follows the common table expression that makes ``batch``. ``{lock}`` in it stands where PostgreSQL locks
    rows of ``tasks``; on SQLite the transaction has locked all there is.
    """

    columns: Mapping[str, str]
    sql: str

    def for_postgres(self) -> str:
        """Return the statement with one array parameter for each column."""
        arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(self.columns.values(), start=1))
        rows = f"SELECT * FROM unnest({arrays})"  # noqa: S608  # places and types, no values
        return self._with_batch(rows, "FOR UPDATE OF tasks")

    def for_sqlite(self, count: int) -> str:
        """Return the statement with one parameter for each value of ``count`` rows."""
        row = f"({', '.join('?' * len(self.columns))})"
        return self._with_batch(f"VALUES {', '.join([row] * count)}", "")

    def _with_batch(self, rows: str, lock: str) -> str:
        return f"WITH batch ({', '.join(self.columns)}) AS ({rows}) {self.sql.replace('{lock}', lock)}"


def columnwise(rows: Sequence[Row]) -> tuple[list[Value], ...]:
    """Return rows as the columns that PostgreSQL unnests."""
    return tuple(map(list, zip(*rows, strict=True)))


def clean(text: str | None) -> str | None:
    """Return ``text`` without what PostgreSQL stores in no text; a foreign message or a path may hold it."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
