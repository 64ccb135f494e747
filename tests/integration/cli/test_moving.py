"""``queues move`` and the warnings that lead to it."""

from pathlib import Path
from typing import Any

import pytest

from mcp_queue import config
from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.errors import BackendUnavailableError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend
from mcp_queue.wiring.leftovers import check_leftovers
from tests.support.processes.cli import run_cli
from tests.support.queues.harness import spec_of
from tests.support.tasks import a_task


async def test_what_a_removed_queue_left_is_told_and_moved(tmp_path: Path) -> None:
    """Until then the gateway is degraded."""
    serializer, clock = JsonTaskSerializer(), SystemClock()
    async with SqliteBackend(tmp_path / "queue.db", clock=clock, serializer=serializer) as backend:
        await backend.queue(spec_of("mails", backend=Backend.SQLITE)).enqueue_batch([a_task("a"), a_task("b")])
    environ: dict[str, Any] = {"QUEUE_DATA_DIR": str(tmp_path), "LEDGER_URL": "none"}
    settings = config.load_settings(environ, {})

    checked = await run_cli("config", "check", **environ)
    assert "2 messages of 'mails' wait in queue.db" in checked.out
    assert "mcp-queue queues move mails QUEUE" in checked.out
    with pytest.raises(BackendUnavailableError, match="2 messages of 'mails'"):
        await check_leftovers(settings)

    moved = await run_cli("queues", "move", "mails", "tasks", **environ)
    assert (0, "Moved 2 messages from mails to tasks.") == (moved.exit_code, moved.out.strip())
    await check_leftovers(settings)
    again = await run_cli("queues", "move", "mails", "tasks", **environ)
    assert (1, "queue.db holds no messages of 'mails'") == (again.exit_code, again.err.strip().splitlines()[-1])
