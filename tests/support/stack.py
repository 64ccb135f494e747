"""Both processes of the product, started as a user starts them."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import aiohttp

from tests.support.waiting import pause

ROOT = Path(__file__).parents[2]
#: How long a process may take to be ready, and to end.
START_TIME = 30.0
STOP_TIME = 60.0


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """One process with a readiness check on a port of its own."""

    name: str
    port: int
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    output: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """The address it serves on."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the process and wait until it is ready."""
        process = self._launch()
        async with asyncio.timeout(START_TIME), aiohttp.ClientSession() as session:
            while not await self._ready(session):
                assert process.poll() is None, f"{self.name} ended: {self.log.read_text()}"
                await pause()

    def _launch(self) -> subprocess.Popen[bytes]:
        self.output = self.log.open("ab")
        self.process = subprocess.Popen(
            # With its standard input the process loses its parent: it outlives no test session that is killed.
            [sys.executable, "-m", "mcp_queue", self.name, "--until-stdin-closes"],
            cwd=ROOT,
            env=dict(self.environment),
            stdin=subprocess.PIPE,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        return self.process

    async def _ready(self, session: aiohttp.ClientSession) -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(f"{self.url}/readyz") as response:
                return response.status == 200
        return False

    async def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send the signal, and return the exit code."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(signal_number)
        try:
            return await asyncio.wait_for(asyncio.to_thread(process.wait), STOP_TIME)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
            if self.output is not None:
                self.output.close()

    async def kill(self) -> None:
        """End it as a crash would."""
        await self.stop(signal.SIGKILL)


@dataclass
class Stack:
    """A gateway and a consumer that share a data directory, and the file in which test handlers leave their lines."""

    directory: Path
    gateway: Service
    consumer: Service
    effects_file: Path
    services: list[Service] = field(default_factory=list)

    def effects(self) -> list[dict[str, Any]]:
        """Return what the test handlers left, in order."""
        if not self.effects_file.exists():
            return []
        return [json.loads(line) for line in self.effects_file.read_text().splitlines()]


@contextlib.asynccontextmanager
async def running_stack(directory: Path, config: str | None = None, **variables: str) -> AsyncIterator[Stack]:
    """Start gateway and consumer in ``directory``, configured by the YAML text ``config`` and ``variables``."""
    stack = make_stack(directory, config, **variables)
    try:
        await asyncio.gather(stack.gateway.start(), stack.consumer.start())
        yield stack
    finally:
        await asyncio.gather(*(service.stop() for service in stack.services))


def make_stack(directory: Path, config: str | None = None, **variables: str) -> Stack:
    """Prepare gateway and consumer without starting them."""
    effects = directory / "effects.jsonl"
    gateway_port, consumer_port = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "QUEUE_DATA_DIR": str(directory / "var"),
        "GATEWAY_PORT": str(gateway_port),
        "CONSUMER_PORT": str(consumer_port),
        "QUEUE_HANDLERS": "tests.support.handlers",
        "QUEUE_RETRY_BASE_DELAY": "50ms",
        "CALLBACK_ALLOWED_NETWORKS": "127.0.0.0/8",
        "TEST_EFFECTS": str(effects),
        "LOG_FORMAT": "json",
        **{name: value for name, value in os.environ.items() if name.startswith(("COVERAGE", "COV_"))},
        **variables,
    }
    if config is not None:
        path = directory / "queue.yaml"
        path.write_text(config)
        environment["QUEUE_CONFIG"] = str(path)
    gateway = Service("gateway", gateway_port, environment, directory / "gateway.log")
    consumer = Service("consumer", consumer_port, environment, directory / "consumer.log")
    return Stack(directory, gateway, consumer, effects, [gateway, consumer])


def another(stack: Stack, service: Service) -> Service:
    """Return a second process like ``service``."""
    port = free_port()
    variable = f"{service.name.upper()}_PORT"
    log = stack.directory / f"{service.name}-{len(stack.services)}.log"
    twin = replace(service, port=port, environment={**service.environment, variable: str(port)}, log=log)
    stack.services.append(twin)
    return twin
