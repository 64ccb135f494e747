"""Inserts rows that may be there already, in either dialect."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

Insert: TypeAlias = postgresql.Insert | sqlite.Insert


def upsert(
    connection: AsyncConnection,
    table: Table,
    values: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    replaced: Sequence[str] = (),
) -> Insert:
    """Return an insert that replaces the columns ``replaced`` of rows that are there, or leaves those rows alone."""
    kind = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = kind(table).values(values)
    key = list(table.primary_key.columns)
    if not replaced:
        return statement.on_conflict_do_nothing(index_elements=key)
    return statement.on_conflict_do_update(
        index_elements=key, set_={column: statement.excluded[column] for column in replaced}
    )


def insert_or_count(connection: AsyncConnection, table: Table, row: Mapping[str, Any], counted: str) -> Any:
    """Return an insert that adds one to the column ``counted`` of a row that is there, and returns that column."""
    kind = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = kind(table).values(row)
    more = statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_={counted: table.c[counted] + 1}
    )
    return more.returning(table.c[counted])
