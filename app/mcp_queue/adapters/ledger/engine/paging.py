"""Lists a page at a time: the next one begins after the last row shown, however many rows come in between."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, and_, or_

from mcp_queue.domain.errors import InvalidCursorError
from mcp_queue.domain.task_states import Page, decode_cursor, encode_cursor, microseconds, moment

Item = TypeVar("Item")


def after(
    cursor: str, time: ColumnElement[Any], name: ColumnElement[Any], *, oldest_first: bool = False
) -> ColumnElement[bool]:
    """Return the condition for rows after ``cursor``, in a list sorted by a time and a name.

    Raises:
        InvalidCursorError: a list of another kind, or none, gave it out.

    """
    of, micros, last = decode_cursor(cursor, str, int, str)
    if of != time.key:
        raise InvalidCursorError
    try:
        at = moment(int(micros))
    except OverflowError as error:
        raise InvalidCursorError from error
    # The first half alone bounds the index; a comparison of pairs would not on SQLite.
    if oldest_first:
        return and_(time >= at, or_(time > at, name > last))
    return and_(time <= at, or_(time < at, name < last))


def page(
    rows: Sequence[Row[Any]],
    limit: int,
    time: ColumnElement[Any],
    item_of: Callable[[Row[Any]], Item],
    key_of: Callable[[Row[Any]], tuple[datetime, str]],
) -> Page[Item]:
    """Return a page of the first ``limit`` of ``rows``, which were asked for with one more, sorted by ``time``."""
    shown = rows[:limit]
    if len(rows) <= limit:
        return Page(tuple(map(item_of, shown)))
    at, name = key_of(shown[-1])
    return Page(tuple(map(item_of, shown)), encode_cursor(str(time.key), microseconds(at), name))
