"""The port for probes and metrics, while somebody fills it with connections."""

import contextlib
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import aiohttp

from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.consumer.health import ConsumerReadiness, HealthApp
from mcp_queue.testing import FakeClock
from mcp_queue.wiring.ports import serving_port
from tests.support.http.application import RunningServer, connected
from tests.support.http.callbacks import LOOPBACK, a_request
from tests.support.http.receiver import Receiver
from tests.support.metrics import CountingMetrics


async def test_idle_connections_take_no_descriptors_from_callbacks() -> None:
    """However many come, a few stay; probes are answered, and callbacks connect."""
    app = HealthApp(ConsumerReadiness([], [], FakeClock(), started=True), lambda: (b"", "text/plain"))
    async with (
        serving_port(app, "127.0.0.1", 0, max_connections=8) as port,
        Receiver() as receiver,
        AiohttpCallbackSender(LOOPBACK, FakeClock(), CountingMetrics()) as sender,
        contextlib.AsyncExitStack() as stack,
        aiohttp.ClientSession() as session,
    ):
        before = open_descriptors()
        idle = [await stack.enter_async_context(connected(RunningServer(port))) for _ in range(200)]
        for client in idle[:190]:
            assert await client.closed()

        async with session.get(f"http://127.0.0.1:{port}/healthz") as response:
            assert response.status == 200
        assert (await sender.send(a_request(receiver.url(), timeout=timedelta(seconds=5)))).status == 200
        # Each idle connection has a descriptor at our client's end; the server's ends are few.
        assert open_descriptors() - before < len(idle) + 20


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_half_of_the_descriptors_stay_for_work() -> None:
    """Where the system allows few, clients get fewer connections."""
    program = "from mcp_queue.wiring.ports import allow_connections; print(allow_connections(2000))"
    limited = ["sh", "-c", f'ulimit -n 400; exec "{sys.executable}" -c "{program}"']

    assert subprocess.run(limited, check=True, capture_output=True, text=True).stdout == "200\n"
