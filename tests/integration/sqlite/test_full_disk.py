"""A file that cannot grow. A limit on the size of files stands for a full disk."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.errors import BackendUnavailableError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend
from tests.support.tasks import a_task, make_spec


@contextlib.contextmanager
def full(directory: Path) -> Iterator[None]:
    """Let no file of this process grow beyond the largest of ``directory``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in directory.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_ping_follows_what_writes_do(tmp_path: Path) -> None:
    """The file can be read and locked all the time, but a gateway that cannot write is not ready."""
    async with SqliteBackend(tmp_path / "queue.db", clock=SystemClock(), serializer=JsonTaskSerializer()) as backend:
        queue = backend.queue(make_spec(backend=Backend.SQLITE))
        await queue.enqueue(a_task("t-1", payload="x" * 100_000))
        await queue.ping()
        with full(tmp_path):
            with pytest.raises(BackendUnavailableError):
                await queue.enqueue(a_task("t-2"))
            with pytest.raises(BackendUnavailableError):
                await queue.ping()
        await queue.ping()
        await queue.enqueue(a_task("t-3"))
        assert 2 == (await queue.stats()).approximate_messages
