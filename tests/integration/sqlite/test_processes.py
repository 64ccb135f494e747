"""Several processes on one file."""

import asyncio
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.ports import Queue
from mcp_queue.testing import FakeClock
from tests.support.clock import HOUR, NOW
from tests.support.processes.queue_user import SPEC
from tests.support.queues.harness import ids
from tests.support.tasks import a_task

# How long a process may take for what needs milliseconds: a busy machine is no failure.
PATIENCE = 30
KILLS = 4
LINES_BEFORE_KILL = 150


@asynccontextmanager
async def process(work: str, path: Path, name: str) -> AsyncIterator[Process]:
    """Start a process that uses the file, and end it."""
    command = (sys.executable, "-m", "tests.support.processes.queue_user", work, str(path), name)
    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        assert "ready" == await line_of(child)
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def line_of(child: Process) -> str:
    """Return the next line that a process prints."""
    assert child.stdout is not None
    line = await asyncio.wait_for(child.stdout.readline(), PATIENCE)
    return line.decode().strip()


async def go(child: Process) -> None:
    """Let a process start its work."""
    assert child.stdin is not None
    child.stdin.write(b"\n")
    await child.stdin.drain()


async def killed_on_the_way(work: str, path: Path, name: str) -> list[str]:
    """Let a process work, kill it at no particular moment, and return what it had confirmed."""
    async with process(work, path, name) as child:
        await go(child)
        lines = [await line_of(child) for _ in range(LINES_BEFORE_KILL)]
        child.kill()
        rest, _ = await child.communicate()
        # The last line may be cut: then it was not said.
        return lines + [line.decode() for line in rest.split(b"\n")[:-1]]


@asynccontextmanager
async def an_hour_later(path: Path) -> AsyncIterator[Queue]:
    """Open the file when every lease of a dead process has ended."""
    clock = FakeClock(SystemClock().now() + HOUR)
    async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer()) as backend:
        yield backend.queue(SPEC)


async def contents(path: Path) -> list[str]:
    """Return the ids of all tasks in the file; fail where one is damaged."""
    found: list[str] = []
    async with an_hour_later(path) as queue:
        counted = (await queue.stats()).approximate_messages
        while deliveries := await queue.receive(10, NOW):
            assert [None] * len(deliveries) == [delivery.poison for delivery in deliveries]
            found += ids(deliveries)
    assert counted == len(found)
    connection = sqlite3.connect(path)
    assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file will lie."""
    return tmp_path / "queue.db"


async def test_a_task_of_another_process_ends_a_long_poll(path: Path) -> None:
    """A consumer that waits notices what a gateway process enqueues, long before its wait is over."""
    async with AsyncExitStack() as stack:
        backend = SqliteBackend(path, clock=SystemClock(), serializer=JsonTaskSerializer())
        queue = (await stack.enter_async_context(backend)).queue(SPEC)
        child = await stack.enter_async_context(process("enqueue", path, "from-afar"))
        poll = asyncio.create_task(queue.receive(1, timedelta(minutes=10)))
        await go(child)
        assert ["from-afar"] == ids(await asyncio.wait_for(poll, PATIENCE))


async def test_processes_that_open_a_new_file_at_once_all_succeed(path: Path) -> None:
    """Whoever comes first makes the file; nobody fails, and nobody's task is lost."""
    names = [f"p-{number}" for number in range(4)]
    async with AsyncExitStack() as stack:
        children = [await stack.enter_async_context(process("enqueue", path, name)) for name in names]
        await asyncio.gather(*(go(child) for child in children))
        assert names == [await line_of(child) for child in children]
    assert names == sorted(await contents(path))


async def test_a_killed_producer_loses_no_confirmed_task(path: Path) -> None:
    """Whatever a process was told is in the queue is there after ``kill -9``, once, and nothing is half written."""
    confirmed: list[str] = []
    for kill in range(KILLS):
        confirmed += await killed_on_the_way("produce", path, f"p{kill}")
    found = await contents(path)
    assert set(confirmed) <= set(found)
    assert len(found) == len(set(found))


async def test_a_killed_consumer_loses_no_task(path: Path) -> None:
    """What a consumer had not completed when it was killed comes again; what it had completed does not."""
    everything = {f"t-{number}" for number in range(2000)}
    async with SqliteBackend(path, clock=SystemClock(), serializer=JsonTaskSerializer()) as backend:
        await backend.queue(SPEC).enqueue_batch([a_task(name) for name in sorted(everything)])
    completed: list[str] = []
    for kill in range(KILLS):
        completed += await killed_on_the_way("consume", path, f"c{kill}")
    found = await contents(path)
    # A completion may be on the disk before its consumer could say so: at most the one under way at each kill.
    silent = everything - set(completed) - set(found)
    assert len(silent) <= KILLS
    assert not set(completed) & set(found)
    assert len(completed) == len(set(completed))


async def test_a_producer_and_a_consumer_share_the_file(path: Path) -> None:
    """One process enqueues, another completes, and neither stands in the other's way."""
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(process("produce", path, "p"))
        consumer = await stack.enter_async_context(process("consume", path, "c"))
        await go(producer)
        await go(consumer)
        completed = [await line_of(consumer) for _ in range(LINES_BEFORE_KILL)]
        assert len(completed) == len(set(completed))
