"""Defines the tables of the embedded queue's file, and connects to it."""

import sqlite3
from datetime import timedelta
from pathlib import Path
from threading import Event

from mcp_queue.domain.errors import NotSupportedError

# Upserts, partial indexes and JSON functions are older; 3.35 is the oldest that was tried.
OLDEST_SQLITE = (3, 35, 0)

# Switching a new file to its write-ahead log does not wait for another process that does the same.
_OPENING_PAUSE = timedelta(milliseconds=50)

# Room for the statements of many rows, of which there is one for each number of rows.
_CACHED_STATEMENTS = 256

# The log grows in a burst and would keep that size; what is above this is given back to the file system.
_LOG_BYTES_KEPT = 64 * 1024 * 1024

# Times are microseconds since 1970.
#
# seq         the number of its acceptance by this queue: a message that moves to another queue gets a new one. It comes
#             from a counter, since a rowid would be used again once the highest row is gone.
# visible_at  when it can be received; NULL while it stands behind another of its FIFO group. What has no delay of its
#             own has one of at most sent_at.
# line        NULL on standard queues; on FIFO ones its place in the line of its group, from the same counter, or 0
#             while it is delayed and stands in no line yet
# receipt     token of the last receive, NULL when it was given back
# received_at when it was received or, without a receipt, given back: visible_at is then so long after that moment
# origin      of a dead letter, the public name of the queue it comes from; redriven: moved by max_receive_count
_VERSION_1 = (
    """
    CREATE TABLE messages (
      seq INTEGER PRIMARY KEY,
      queue TEXT NOT NULL,
      visible_at INTEGER,
      sent_at INTEGER NOT NULL,
      line INTEGER,
      receive_count INTEGER NOT NULL DEFAULT 0,
      receipt INTEGER,
      received_at INTEGER,
      origin TEXT NOT NULL DEFAULT '',
      redriven INTEGER NOT NULL DEFAULT 0,
      group_key TEXT,
      message_id TEXT NOT NULL,
      attributes TEXT,
      body TEXT NOT NULL
    )
    """,
    # sent_at is there so that the oldest waiting message is found in the index alone.
    "CREATE INDEX messages_turn ON messages (queue, visible_at, sent_at)",
    "CREATE INDEX messages_line ON messages (queue, group_key, seq) WHERE line = 1",
    "CREATE INDEX messages_unplaced ON messages (queue, visible_at) WHERE line = 0",
    "CREATE INDEX messages_leased ON messages (queue, visible_at) WHERE receipt IS NOT NULL",
    """
    CREATE TABLE depths (
      queue TEXT NOT NULL, origin TEXT NOT NULL, messages INTEGER NOT NULL, PRIMARY KEY (queue, origin)
    ) WITHOUT ROWID
    """,
    """
    CREATE TRIGGER messages_in AFTER INSERT ON messages BEGIN
      INSERT INTO depths VALUES (new.queue, new.origin, 1) ON CONFLICT DO UPDATE SET messages = messages + 1;
    END
    """,
    """
    CREATE TRIGGER messages_out AFTER DELETE ON messages BEGIN
      UPDATE depths SET messages = messages - 1 WHERE queue = old.queue AND origin = old.origin;
    END
    """,
    """
    CREATE TRIGGER messages_moved AFTER UPDATE OF queue ON messages BEGIN
      UPDATE depths SET messages = messages - 1 WHERE queue = old.queue AND origin = old.origin;
      INSERT INTO depths VALUES (new.queue, new.origin, 1) ON CONFLICT DO UPDATE SET messages = messages + 1;
    END
    """,
    """
    CREATE TABLE first_copies (
      queue TEXT NOT NULL, deduplication_id TEXT NOT NULL, task_id TEXT NOT NULL, message_id TEXT NOT NULL,
      forgotten_at INTEGER NOT NULL, PRIMARY KEY (queue, deduplication_id)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX first_copies_forgotten ON first_copies (forgotten_at)",
    "CREATE TABLE paused_queues (queue TEXT PRIMARY KEY) WITHOUT ROWID",
)
_VERSION_2 = (
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO counters SELECT 'accepted', coalesce(max(seq), 0) FROM messages",
    # The sum of the steps of the clock that leases were moved by, in microseconds.
    "INSERT INTO counters VALUES ('clock_steps', 0)",
    "DROP INDEX messages_line",
    "UPDATE messages SET line = seq WHERE line = 1",
    "CREATE INDEX messages_line ON messages (queue, group_key, line) WHERE line > 0",
    "DROP INDEX messages_leased",
    """
    CREATE INDEX messages_received ON messages (queue, visible_at, received_at, receipt)
    WHERE received_at IS NOT NULL
    """,
)
_MIGRATIONS = (_VERSION_1, _VERSION_2)


def check_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Check that the SQLite library is new enough.

    Raises:
        NotSupportedError: it is too old.

    """
    if version < OLDEST_SQLITE:
        needed, found = (".".join(map(str, numbers)) for numbers in (OLDEST_SQLITE, version))
        message = f"the embedded queue needs SQLite {needed} or newer; this Python has {found}"
        raise NotSupportedError(message)


def prepare_file(path: Path, busy_timeout: timedelta) -> None:
    """Create the file, or upgrade an older one. Other processes may do the same meanwhile.

    Raises:
        NotSupportedError: a newer version of the product wrote it, or its file system takes no write-ahead log.
        sqlite3.Error: the file is damaged, locked or cannot be written.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = connect(path, busy_timeout, create=True)
    try:
        _use_write_ahead_log(connection, tries=1 + busy_timeout // _OPENING_PAUSE)
        _migrate(connection)
    finally:
        connection.close()


def connect(path: Path, busy_timeout: timedelta, *, create: bool = False) -> sqlite3.Connection:
    """Return a connection whose commits have reached the disk when they return; only ``create`` makes a file."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=busy_timeout.total_seconds(),
        isolation_level=None,
        cached_statements=_CACHED_STATEMENTS,
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES_KEPT}")
    return connection


def _use_write_ahead_log(connection: sqlite3.Connection, tries: int) -> None:
    for tries_left in reversed(range(tries)):
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not tries_left:
                raise
            Event().wait(_OPENING_PAUSE.total_seconds())
        else:
            if mode != "wal":
                raise NotSupportedError("the embedded queue's file system takes no write-ahead log")
            return


def _migrate(connection: sqlite3.Connection) -> None:
    if _version(connection) == len(_MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)  # again: another process may have been faster
        if version > len(_MIGRATIONS):
            message = f"the embedded queue's file has version {version}, this program knows up to {len(_MIGRATIONS)}"
            raise NotSupportedError(message)
        for statement in (statement for migration in _MIGRATIONS[version:] for statement in migration):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
