"""SQLite's errors as the product's own."""

import sqlite3

from mcp_queue.domain.errors import BackendUnavailableError, InvalidTaskError, QueueError

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_LOST = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
    }
)
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
}
_OTHER = "the embedded queue failed"
_NO_CODE = -1


def translated(error: Exception) -> QueueError:
    """Return what callers are told of an error of SQLite; nothing of paths or statements."""
    if isinstance(error, UnicodeEncodeError):
        return _caused(InvalidTaskError("a string holds a lone surrogate"), error)
    return _caused(BackendUnavailableError(_MESSAGES.get(primary_code(error), _OTHER)), error)


def concerns_everybody(error: sqlite3.Error) -> bool:
    """Whether the same transaction with fewer statements would fail in the same way."""
    return primary_code(error) in _BUSY | _LOST


def breaks_connection(error: sqlite3.Error) -> bool:
    """Whether a new connection is the way back once the cause is gone."""
    return primary_code(error) in _LOST


def primary_code(error: Exception) -> int:
    """Return SQLite's result code without its extension; a negative number for errors of the Python module itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return _NO_CODE if code is None else code & 0xFF


def _caused(error: QueueError, cause: Exception) -> QueueError:
    error.__cause__ = cause
    return error
