"""An open file for each test."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.testing import FakeClock
from tests.support.clock import START
from tests.support.queues.embedded import Lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file lies."""
    return tmp_path / "data" / "queue.db"


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock(START)


@pytest.fixture
async def backend(path: Path, clock: FakeClock) -> AsyncIterator[SqliteBackend]:
    """Open the file; give up soon where it is locked."""
    busy_timeout = timedelta(milliseconds=200)
    async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer(), busy_timeout=busy_timeout) as opened:
        yield opened


@pytest.fixture
def lock(path: Path, backend: SqliteBackend) -> Iterator[Lock]:
    """Let a test keep everybody else from writing."""
    with Lock(path) as held_by_nobody:
        yield held_by_nobody
