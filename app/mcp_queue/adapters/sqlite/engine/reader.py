"""Runs queries on a connection and a thread of their own, so that no write waits for them."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mcp_queue.adapters.sqlite.engine.command import moment
from mcp_queue.adapters.sqlite.engine.errors import breaks_connection, translated
from mcp_queue.adapters.sqlite.engine.file import QueueFile
from mcp_queue.domain.errors import BackendUnavailableError
from mcp_queue.domain.queues import QueueSpec, QueueStats

Result = TypeVar("Result")

_COUNT = """
    SELECT
      (SELECT coalesce(sum(messages), 0) FROM depths WHERE queue = :queue),
      (SELECT count(*) FROM messages WHERE queue = :queue AND visible_at > :now),
      (SELECT count(*) FROM messages
       WHERE queue = :queue AND visible_at > :now AND received_at IS NOT NULL AND receipt IS NOT NULL),
      (SELECT min(sent_at) FROM messages WHERE queue = :queue AND visible_at <= :now),
      (SELECT min(sent_at) FROM messages WHERE queue = :queue AND visible_at IS NULL),
      (SELECT coalesce(sum(messages), 0) FROM depths WHERE queue = :dead_letters AND origin = :public_name),
      EXISTS (SELECT 1 FROM paused_queues WHERE queue = :public_name)
"""
_PAUSED = "SELECT queue FROM paused_queues"


class Reader:
    """Runs queries one at a time, on a connection that it opens for the first one."""

    def __init__(self, file: QueueFile) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded-queue-reader")
        self._closed = False

    async def run(self, query: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return the result of ``query``."""
        if self._closed:
            raise BackendUnavailableError("the embedded queue is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, query)

    async def close(self) -> None:
        """Finish the queries that were asked for, then close the connection."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    def _run(self, query: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            self._file.check_place()
            if self._connection is None:
                self._connection = self._file.connect()
            return query(self._connection)
        except sqlite3.Error as error:
            self._file.failed(error)
            if breaks_connection(error):
                self._disconnect()
            raise translated(error) from error

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def count(connection: sqlite3.Connection, spec: QueueSpec, now: int) -> QueueStats:
    """Count the messages of a queue at one moment."""
    values = {
        "queue": spec.name,
        "public_name": spec.public_name,
        "dead_letters": spec.dead_letter_queue,
        "now": now,
    }
    total, hidden, in_flight, oldest, oldest_behind, dead, paused = connection.execute(_COUNT, values).fetchone()
    ages = [now - sent_at for sent_at in (oldest, oldest_behind) if sent_at is not None]
    return QueueStats(
        queue_name=spec.public_name,
        approximate_messages=total - hidden,
        inflight_messages=in_flight,
        delayed_messages=hidden - in_flight,
        oldest_message_age=moment(max(0, *ages)) - moment(0) if ages else None,
        dead_letters=None if spec.dead_letter_queue is None else dead,
        paused=bool(paused),
    )


def paused_queues(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the names of paused queues."""
    return frozenset(name for (name,) in connection.execute(_PAUSED))
