"""Starts the product's processes as a user starts them: for benchmarks, and for tests of the whole."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp

from mcp_queue.adapters.clock import SystemClock

ROOT = Path(__file__).parents[1]
#: Seconds that a process may take to be ready, and to end.
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
        process, clock = self._launch(), SystemClock()
        async with asyncio.timeout(START_TIME), aiohttp.ClientSession() as session:
            while not await self._ready(session):
                assert process.poll() is None, f"{self.name} ended: {self.log.read_text()}"
                await clock.sleep(0.05)  # a process that starts gives no signal but its answer

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


def gateway_and_consumer(directory: Path, **variables: str) -> tuple[Service, Service]:
    """Prepare a gateway and a consumer that share ``directory``, configured by ``variables``; start neither."""
    gateway_port, consumer_port = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "QUEUE_DATA_DIR": str(directory / "var"),
        "GATEWAY_PORT": str(gateway_port),
        "CONSUMER_PORT": str(consumer_port),
        "LOG_FORMAT": "json",
        **variables,
    }
    return (
        Service("gateway", gateway_port, environment, directory / "gateway.log"),
        Service("consumer", consumer_port, environment, directory / "consumer.log"),
    )
