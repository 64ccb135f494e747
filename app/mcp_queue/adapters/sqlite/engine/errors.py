"""Translates SQLite's errors into the product's own."""

import sqlite3

from mcp_queue.adapters.sqlite_codes import BUSY, UNUSABLE, primary_code
from mcp_queue.domain.errors import BackendUnavailableError, InvalidTaskError, QueueError

_MESSAGES = {
    sqlite3.SQLITE_BUSY: "the embedded queue's file is locked by another process",
    sqlite3.SQLITE_LOCKED: "the embedded queue's file is locked by another process",
    sqlite3.SQLITE_FULL: "the disk of the embedded queue is full",
    sqlite3.SQLITE_IOERR: "the disk of the embedded queue does not answer",
    sqlite3.SQLITE_CORRUPT: "the embedded queue's file is damaged",
    sqlite3.SQLITE_NOTADB: "the embedded queue's file is no SQLite database",
    sqlite3.SQLITE_CANTOPEN: "the embedded queue's file cannot be opened",
    sqlite3.SQLITE_READONLY: "the embedded queue's file cannot be written",
    sqlite3.SQLITE_PERM: "the embedded queue's file cannot be written",
    sqlite3.SQLITE_READONLY_DBMOVED: "the embedded queue's file was removed or replaced while it was open",
}
_OTHER = "the embedded queue failed"


def translated(error: Exception) -> QueueError:
    """Return the error for callers. Its message names no path and no statement."""
    if isinstance(error, UnicodeEncodeError):
        return _caused(InvalidTaskError("a string holds a lone surrogate"), error)
    code = getattr(error, "sqlite_errorcode", None)
    message = _MESSAGES.get(code or 0) or _MESSAGES.get(primary_code(error), _OTHER)
    return _caused(BackendUnavailableError(message), error)


def fails_every_command(error: sqlite3.Error) -> bool:
    """Return whether a transaction with fewer of the commands would fail in the same way."""
    return primary_code(error) in BUSY | UNUSABLE


def breaks_connection(error: sqlite3.Error) -> bool:
    """Return whether only a new connection works once the cause is removed."""
    return primary_code(error) in UNUSABLE


def _caused(error: QueueError, cause: Exception) -> QueueError:
    error.__cause__ = cause
    return error
