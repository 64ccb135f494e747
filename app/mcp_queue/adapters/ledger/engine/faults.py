"""Classifies the errors of a database by what can be done about them."""

import sqlite3
from collections.abc import Iterator
from enum import Enum, auto

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mcp_queue.adapters.sqlite_codes import BUSY, UNUSABLE, primary_code


class Fault(Enum):
    """What can be done about an error."""

    REPEAT = auto()  #: another transaction came first: do the whole one again
    LOST = auto()  #: the connection is gone: once more, on a new one, since the pool may hold more such
    AWAY = auto()  #: the database does not answer, or cannot write
    SLOW = auto()  #: it answers, but not in time, or has no connection to spare
    REFUSED = auto()  #: it will never take these rows
    DEFECT = auto()  #: the statement is wrong


_SQLITE = {
    **dict.fromkeys(BUSY, Fault.REPEAT),
    **dict.fromkeys(UNUSABLE, Fault.AWAY),
    sqlite3.SQLITE_FULL: Fault.AWAY,
    sqlite3.SQLITE_INTERRUPT: Fault.SLOW,
    sqlite3.SQLITE_CONSTRAINT: Fault.REFUSED,
    sqlite3.SQLITE_TOOBIG: Fault.REFUSED,
    sqlite3.SQLITE_MISMATCH: Fault.REFUSED,
}

# SQLSTATEs, and classes of them: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES = {
    "40001": Fault.REPEAT,  # serialization_failure
    "40P01": Fault.REPEAT,  # deadlock_detected
    "55P03": Fault.SLOW,  # lock_not_available
    "57014": Fault.SLOW,  # query_canceled, by statement_timeout
    "08": Fault.LOST,
    "57": Fault.LOST,  # operator intervention: shutdowns
    "53": Fault.AWAY,  # insufficient resources
    "58": Fault.AWAY,  # system errors
    "25": Fault.AWAY,  # read-only transaction: a standby
    "28": Fault.AWAY,  # authorization
    "3D": Fault.AWAY,  # no such database
    "22": Fault.REFUSED,
    "23": Fault.REFUSED,
    "54": Fault.REFUSED,  # program limits: an index row that is too large
}


#: Everything that ``classify`` may know.
DATABASE_ERRORS = (
    DBAPIError,
    PoolTimeoutError,
    sqlite3.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    OverflowError,
    ValueError,
)


def classify(error: BaseException) -> Fault | None:
    """Return what ``error`` means, ``None`` where it is no error of a database."""
    if isinstance(error, PoolTimeoutError):
        return Fault.SLOW
    if isinstance(error, DBAPIError):
        found = next((fault for cause in _causes(error.orig) if (fault := _of_driver(cause))), Fault.DEFECT)
        return Fault.LOST if error.connection_invalidated and found is Fault.DEFECT else found
    return _of_driver(error)


def explain(error: BaseException) -> str:
    """Return the database's own words about ``error``, without the statement and its parameters."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig.__cause__ or error.orig
    # What follows in further lines, or after asyncpg's number of a parameter, may quote values.
    words = str(error).split("\n")[0].partition("query argument")[0]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _of_driver(error: BaseException) -> Fault | None:
    if str(error).lower() in _CLOSED:
        return Fault.LOST
    if isinstance(error, sqlite3.Error):
        return _SQLITE.get(primary_code(error), Fault.DEFECT)
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return _POSTGRES.get(state) or _POSTGRES.get(state[:2]) or Fault.DEFECT
    if isinstance(error, asyncpg.InterfaceError):
        # asyncpg's complaints about the values of parameters are both.
        refused = Fault.REFUSED if isinstance(error, ValueError) else Fault.DEFECT
        return Fault.LOST if "closed" in str(error) else refused
    return next((fault for kinds, fault in _KINDS if isinstance(error, kinds)), None)


# What aiosqlite says of a connection that was closed while a statement waited for it.
_CLOSED = frozenset({"connection closed", "no active connection"})
_KINDS: tuple[tuple[tuple[type[BaseException], ...], Fault], ...] = (
    ((OverflowError, UnicodeEncodeError), Fault.REFUSED),
    ((asyncpg.InternalClientError,), Fault.LOST),
    ((TimeoutError,), Fault.SLOW),
    ((OSError,), Fault.AWAY),
)
