"""``dev``: gateway and consumer as one command, with the real processes."""

import asyncio
import shlex
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from bench.processes import free_port
from tests.support.processes.cli import environment

#: How long both processes may take to start, work and stop.
PATIENCE = 50.0


@asynccontextmanager
async def dev(data_dir: Path, port: int) -> AsyncIterator[Process]:
    """Run ``dev`` with the gateway on ``port``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mcp_queue", "dev",
        env=environment(QUEUE_DATA_DIR=str(data_dir), GATEWAY_PORT=str(port), CONSUMER_PORT=str(free_port())),
        stdout=PIPE,
        stderr=PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        # Ends when the last process that writes there has ended.
        await asyncio.wait_for(process.communicate(), PATIENCE)


async def read_welcome(process: Process) -> list[str]:
    """Return the arguments of the command to try, once everything runs."""
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if "Try it" in line:
            return shlex.split(line)[2:]
    raise AssertionError("ended without a welcome")


async def test_the_suggested_command_works_and_an_interrupt_is_a_clean_end(tmp_path: Path) -> None:
    """A new user starts, pastes the line, gets a task, and leaves with Ctrl-C."""
    async with dev(tmp_path, free_port()) as process:
        curl, url, header_flag, header, data_flag, data = await read_welcome(process)
        assert ("curl", "-H", "-d") == (curl, header_flag, data_flag)
        name, _, value = header.partition(": ")
        async with aiohttp.ClientSession() as session, session.post(url, data=data, headers={name: value}) as response:
            assert 202 == response.status
        process.send_signal(signal.SIGINT)

        assert 0 == await process.wait()


async def test_no_process_outlives_a_killed_dev(tmp_path: Path) -> None:
    """Gateway and consumer notice that their parent is gone, and drain."""
    async with dev(tmp_path, free_port()) as process:
        await read_welcome(process)
        process.kill()

        _, err = await process.communicate()

        assert b"drained" in err


async def test_a_port_that_is_taken_ends_both(tmp_path: Path) -> None:
    """One cannot do without the other; the last line says which one failed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with dev(tmp_path, taken.getsockname()[1]) as process:
            _, err = await process.communicate()

            assert 0 != process.returncode
            assert b"the gateway has ended, so the other was stopped" == err.splitlines()[-1]
