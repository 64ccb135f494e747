"""Sorts SQLite's result codes by what they say about the file: the embedded queue and the ledger both go by it.

Source: https://www.sqlite.org/rescode.html
"""

import sqlite3
from typing import Final

#: Another connection holds the lock.
BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
#: The file cannot be used, and will not be until its cause is removed.
UNUSABLE: Final = frozenset(
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
#: What lies in the file is not what was written.
DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NO_CODE = -1


def primary_code(error: BaseException) -> int:
    """Return the result code of ``error`` without its extension; a negative number where it has none."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return _NO_CODE if code is None else code & 0xFF
