"""How many single POSTs a second one gateway process takes, beside an empty FastAPI route with the same body model.

Both are real uvicorn processes that run side by side and are loaded in turns, so that whatever else the machine does
hits both alike. The figure that counts is their ratio.

    python bench/gateway_post.py                  # the embedded queue, as a new user has it
    python bench/gateway_post.py --queue none     # the gateway alone: tasks are serialized and dropped
"""

import argparse
import asyncio
import contextlib
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import cast

import uvicorn
import uvloop
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, generate_latest

from app.adapters.clock import SystemClock
from app.adapters.sqlite import SqliteBackend
from app.domain.delivery import Accepted
from app.domain.errors import QueueError
from app.domain.payloads import common_payloads
from app.domain.queues import Backend, QueueKind, QueueSpec, QueueStats
from app.domain.serialization import JsonTaskSerializer
from app.domain.strict_json import dumps
from app.domain.task import Task
from app.gateway.application import create_app
from app.gateway.parts import GatewayParts
from app.gateway.protocol import GuardedProtocol
from app.gateway.readiness import Readiness
from app.services.enqueueing import EnqueueRules
from app.services.new_task import NewTask
from app.services.producing import ProducerQueue
from app.services.queue_manager import QueueManager
from app.telemetry.metrics import PrometheusMetrics

CONNECTIONS = 64
PATH = "/v1/queues/tasks/tasks"
BODY = dumps(
    {
        "type": "embedding",
        "payload": {"text": "The quick brown fox jumps over the lazy dog", "model": "text-embedding-3-small"},
        "metadata": {"source": "bench"},
        "priority": 1,
    }
).encode()
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
REQUEST = HEAD.encode() + BODY


class Sink:
    """A queue that serializes what it gets, as every backend has to, and drops it."""

    spec = QueueSpec(name="tasks", kind=QueueKind.STANDARD, backend=Backend.MEMORY)

    async def enqueue(self, task: Task) -> Accepted:
        """Serialize ``task``."""
        JsonTaskSerializer().dumps(task)
        return Accepted(task.id)

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Serialize ``tasks``."""
        return [await self.enqueue(task) for task in tasks]

    async def stats(self) -> QueueStats:
        """Return that nothing is here."""
        return QueueStats(queue_name="tasks", approximate_messages=0, inflight_messages=0, delayed_messages=0)

    async def purge(self) -> int:
        """Return that nothing was here."""
        return 0

    async def ping(self) -> None:
        """Return."""


@contextlib.asynccontextmanager
async def reference() -> AsyncIterator[FastAPI]:
    """Return an application whose POST route has the same body model and does nothing."""
    app = FastAPI()

    @app.post(PATH, status_code=202)
    async def post(task: NewTask) -> None:
        """Do nothing."""

    yield app


@contextlib.asynccontextmanager
async def gateway(directory: Path, kind: str) -> AsyncIterator[FastAPI]:
    """Return the gateway over one queue."""
    clock = SystemClock()
    if kind == "none":
        yield gateway_over(Sink(), clock)
        return
    async with SqliteBackend(directory / "queue.db", clock=clock, serializer=JsonTaskSerializer()) as backend:
        spec = QueueSpec(name="tasks", kind=QueueKind.STANDARD, backend=Backend.SQLITE)
        yield gateway_over(backend.queue(spec), clock)


def gateway_over(queue: ProducerQueue, clock: SystemClock) -> FastAPI:
    """Return the gateway over ``queue``, with its metrics."""
    registry = CollectorRegistry()
    manager = QueueManager(
        {"tasks": queue},
        pauses={},
        rules=EnqueueRules(payload_models=common_payloads()),
        clock=clock,
        metrics=PrometheusMetrics(registry, known_types=common_payloads()),
        random_bits=secrets.randbits,
    )
    parts = GatewayParts(
        manager=manager,
        readiness=Readiness({}),
        clock=clock,
        registry=registry,
        render_metrics=lambda: generate_latest(registry),
        new_trace_id=lambda: secrets.token_hex(16),
        version="bench",
    )
    return create_app(parts)


async def serve(name: str, listener: int, directory: Path, kind: str) -> None:
    """Serve one of the applications on the socket ``listener`` until SIGTERM."""
    async with reference() if name == "reference" else gateway(directory, kind) as app:
        protocol = "httptools" if name == "reference" else GuardedProtocol
        config = uvicorn.Config(app, http=protocol, lifespan="off", access_log=False, log_level="warning")
        # Not by uvicorn's own option, which takes the socket for a Unix one and leaves Nagle's algorithm on.
        await uvicorn.Server(config).serve(sockets=[socket.socket(fileno=listener)])


class Client(asyncio.Protocol):
    """Sends one request after the other over one connection, and counts the answers."""

    def __init__(self, ended: "asyncio.Future[None]") -> None:
        """Tell ``ended`` if the connection breaks or an answer is not 202."""
        self.answers = 0
        self._ended = ended
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        """Send the next request once the answer is complete."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 202"):
            self._fail(f"unexpected answer: {self._buffer!r}")
            return
        self._buffer = b""
        self.answers += 1
        self._transport.write(REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the connection broke."""
        self._fail(f"connection lost: {exc}")

    def close(self) -> None:
        """Stop."""
        self._transport.abort()

    def _fail(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_exception(RuntimeError(reason))


async def load(port: int, seconds: float) -> float:
    """Return how many requests a second the server at ``port`` answers to 64 clients."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    clients: list[Client] = []
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(lambda: Client(ended), "127.0.0.1", port)
        clients.append(client)
    await wait(ended, 0.3)
    before, began = sum(client.answers for client in clients), time.perf_counter()
    await wait(ended, seconds)
    rate = (sum(client.answers for client in clients) - before) / (time.perf_counter() - began)
    ended.cancel()
    for client in clients:
        client.close()
    return rate


async def wait(ended: "asyncio.Future[None]", seconds: float) -> None:
    """Return after ``seconds``, or raise what ended the load before."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(ended), seconds)


@contextlib.contextmanager
def running(name: str, directory: Path, kind: str) -> Iterator[int]:
    """Run one of the applications in a process of its own; return its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        port: int = listener.getsockname()[1]
        command = [sys.executable, __file__, "--serve", name, "--fd", str(listener.fileno())]
        command += ["--directory", str(directory), "--queue", kind]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()])
    try:
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


async def compare(ports: dict[str, int], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Load the servers in turns and print every round; a first one, in which they warm up, does not count."""
    rates: dict[str, list[float]] = {name: [] for name in ports}
    for port in ports.values():
        await load(port, seconds)
    for number in range(rounds):
        for name, port in ports.items():
            rates[name].append(await load(port, seconds))
        line = "   ".join(f"{name} {rate[-1]:7.0f}/s" for name, rate in rates.items())
        print(f"round {number + 1}: {line}   ratio {rates['gateway'][-1] / rates['reference'][-1]:.2f}")
    return rates


def main() -> None:
    """Measure, or be one of the servers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queue", choices=["sqlite", "none"], default="sqlite")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each round and server")
    parser.add_argument("--serve", choices=["reference", "gateway"], help=argparse.SUPPRESS)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve, options.fd, options.directory, options.queue))
        return
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        ports = {
            name: stack.enter_context(running(name, Path(directory), options.queue))
            for name in ("reference", "gateway")
        }
        rates = uvloop.run(compare(ports, options.rounds, options.seconds))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(
        f"median: reference {medians['reference']:.0f}/s, gateway {medians['gateway']:.0f}/s ({options.queue}),"
        f" ratio {medians['gateway'] / medians['reference']:.2f}"
    )


if __name__ == "__main__":
    main()
