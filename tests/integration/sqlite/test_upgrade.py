"""Files of earlier versions are upgraded in place, with everything that lies in them."""

import sqlite3
from pathlib import Path

import pytest

from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.adapters.sqlite.engine import schema
from mcp_queue.adapters.sqlite.engine.command import timestamp
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.testing import FakeClock
from tests.support.clock import NOW, SECOND, START
from tests.support.queues.embedded import FIFO, STANDARD
from tests.support.queues.harness import ids
from tests.support.tasks import a_task

_INSERT = "INSERT INTO messages (queue, visible_at, sent_at, line, group_key, message_id, body) VALUES (?,?,?,?,?,?,?)"


@pytest.fixture
def file_of_version_1(path: Path) -> Path:
    """Return a file as 0.1 left it: two tasks of a group, a delayed one of it, and one of a standard queue."""
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    for statement in schema._VERSION_1:
        connection.execute(statement)
    connection.execute("PRAGMA user_version = 1")
    serializer, now = JsonTaskSerializer(), timestamp(START)
    tasks = [
        ("ordered", now, 1, "g", "first"),
        ("ordered", now + 60_000_000, 0, "g", "delayed"),
        ("ordered", None, 1, "g", "second"),
        ("work", now, None, None, "alone"),
    ]
    for queue, visible_at, line, group, name in tasks:
        body = serializer.dumps(a_task(name))
        connection.execute(_INSERT, (queue, visible_at, now, line, group, name, body))
    connection.commit()
    connection.close()
    return path


async def test_tasks_of_version_1_run_in_their_order(file_of_version_1: Path, clock: FakeClock) -> None:
    """Groups keep their order, with what comes after the upgrade behind what was there."""
    async with SqliteBackend(file_of_version_1, clock=clock, serializer=JsonTaskSerializer()) as backend:
        queue = backend.queue(FIFO)
        await queue.enqueue(a_task("third", group="g"))
        await clock.advance(60 * SECOND)
        order = []
        while deliveries := await queue.receive(1, NOW):
            order += ids(deliveries)
            await queue.complete(deliveries[0])
        assert ["first", "second", "third", "delayed"] == order
        assert ["alone"] == ids(await backend.queue(STANDARD).receive(10, NOW))
