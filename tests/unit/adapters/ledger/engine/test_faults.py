"""What errors of the databases mean."""

import sqlite3

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest
from asyncpg.exceptions import _base  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mcp_queue.adapters.ledger.engine.faults import DATABASE_ERRORS, Fault, classify, explain


def sqlite_error(code: int) -> sqlite3.OperationalError:
    """Return an error as the driver raises it."""
    error = sqlite3.OperationalError("words of the database")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite_error(sqlite3.SQLITE_BUSY), Fault.REPEAT),
        (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), Fault.REPEAT),
        (sqlite_error(sqlite3.SQLITE_FULL), Fault.AWAY),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), Fault.AWAY),
        (sqlite_error(sqlite3.SQLITE_INTERRUPT), Fault.SLOW),
        (sqlite_error(sqlite3.SQLITE_TOOBIG), Fault.REFUSED),
        (sqlite_error(sqlite3.SQLITE_ERROR), Fault.DEFECT),
        (sqlite3.OperationalError("no active connection"), Fault.LOST),
        (ValueError("Connection closed"), Fault.LOST),
        (asyncpg.DeadlockDetectedError("words"), Fault.REPEAT),
        (asyncpg.SerializationError("words"), Fault.REPEAT),
        (asyncpg.LockNotAvailableError("words"), Fault.SLOW),
        (asyncpg.QueryCanceledError("words"), Fault.SLOW),
        (asyncpg.AdminShutdownError("words"), Fault.LOST),
        (asyncpg.CannotConnectNowError("words"), Fault.LOST),
        (asyncpg.ConnectionDoesNotExistError("words"), Fault.LOST),
        (asyncpg.TooManyConnectionsError("words"), Fault.AWAY),
        (asyncpg.DiskFullError("words"), Fault.AWAY),
        (asyncpg.InvalidPasswordError("words"), Fault.AWAY),
        (asyncpg.InvalidCatalogNameError("words"), Fault.AWAY),
        (asyncpg.ReadOnlySQLTransactionError("words"), Fault.AWAY),
        (asyncpg.CharacterNotInRepertoireError("words"), Fault.REFUSED),
        (asyncpg.NotNullViolationError("words"), Fault.REFUSED),
        (asyncpg.ProgramLimitExceededError("words"), Fault.REFUSED),
        (asyncpg.UndefinedTableError("words"), Fault.DEFECT),
        (_base.DataError("invalid input for query argument $1"), Fault.REFUSED),
        (asyncpg.InterfaceError("connection is closed"), Fault.LOST),
        (asyncpg.InterfaceError("the server expects 1 argument"), Fault.DEFECT),
        (asyncpg.InternalClientError("words"), Fault.LOST),
        (ConnectionRefusedError(), Fault.AWAY),
        (TimeoutError(), Fault.SLOW),
        (PoolTimeoutError(), Fault.SLOW),
        (OverflowError(), Fault.REFUSED),
        (DBAPIError("statement", {}, sqlite_error(sqlite3.SQLITE_BUSY)), Fault.REPEAT),
        (DBAPIError("statement", {}, Exception(), connection_invalidated=True), Fault.LOST),
        (ValueError("somebody else's"), None),
    ],
)
def test_error_tells_what_can_be_done(error: BaseException, expected: Fault | None) -> None:
    """Each kind is told apart, and all are among those that are caught."""
    assert expected == classify(error)
    assert isinstance(error, DATABASE_ERRORS)


def test_explanation_has_neither_statement_nor_parameters() -> None:
    """What reaches a log or an operator is the database's own word."""
    error = DBAPIError("SELECT secret", {"p": "payload"}, sqlite_error(sqlite3.SQLITE_FULL))
    assert "OperationalError: words of the database" == explain(error)
    assert "TimeoutError" == explain(TimeoutError())
