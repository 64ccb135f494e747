"""The README, as a new user follows it."""

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.processes import free_port
from tests.support.sqs.localstack import of_session
from tests.support.tools import ROOT
from tests.support.waiting import eventually

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)\n```", README, flags=re.DOTALL | re.MULTILINE)

#: After Ctrl-C the product ends with 0; make ends as the product does, or by the signal that it got as well.
STOPPED = {0, -signal.SIGINT}


class Visitor:
    """Somebody who copies commands from the README; ports and directories are the test's own."""

    def __init__(self, directory: Path) -> None:
        """Use free ports."""
        self.gateway, self.consumer, self.receiver = free_port(), free_port(), free_port()
        # Not what a make that runs this suite leaves for the makes below it.
        inherited = {
            name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
        }
        self.environment = {
            **inherited,
            "QUEUE_DATA_DIR": str(directory / "var"),
            "GATEWAY_PORT": str(self.gateway),
            "CONSUMER_PORT": str(self.consumer),
            "MCP_QUEUE_URL": f"http://127.0.0.1:{self.gateway}",
        }

    def command(self, beginning: str) -> str:
        """Return the README's command that begins so, with the ports of this test."""
        (found,) = [block for block in BLOCKS if block.startswith(beginning)]
        return str(found).replace(":8080", f":{self.gateway}").replace(":9000", f":{self.receiver}")

    async def run(self, command: str) -> str:
        """Run a command to its end and return what it prints."""
        process = await asyncio.create_subprocess_shell(
            command, cwd=ROOT, env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode()

    @asynccontextmanager
    async def running(self, command: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a command in a terminal of its own, and end it by Ctrl-C."""
        process = await asyncio.create_subprocess_shell(
            f"exec {command}",
            cwd=ROOT,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            # Whoever started this suite in the background has it ignore Ctrl-C; a terminal does not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGINT)
            await asyncio.wait_for(process.wait(), 40)


@pytest.fixture
def visitor(tmp_path: Path) -> Visitor:
    """Return a new user."""
    return Visitor(tmp_path)


async def line_with(process: asyncio.subprocess.Process, text: str) -> str:
    """Read lines until one holds ``text``."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        async for line in process.stdout:
            if text in line.decode():
                return line.decode()
    raise AssertionError(text)


async def task(visitor: Visitor, task_id: str) -> dict[str, Any]:
    """Look a task up."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{visitor.gateway}/v1/tasks/{task_id}") as answer,
    ):
        return dict(await answer.json())


@pytest.mark.timeout(180)
async def test_a_new_user_gets_through_the_readme(visitor: Visitor) -> None:
    """Start, submit, be called, look around, stop: every command does what the page says."""
    async with visitor.running(visitor.command("make run")) as product:
        assert f":{visitor.gateway}/docs" in await line_with(product, "Swagger UI")
        echo, greeting = [block for block in BLOCKS if block.startswith("curl")]
        first = json.loads(await visitor.run(visitor.command(echo)))
        python = shlex.quote(sys.executable)  # the checkout may lie anywhere
        receiver = visitor.command("python3 docs/examples/receiver.py").replace("python3", python)
        async with visitor.running(f"{receiver} {visitor.receiver}") as listening:
            assert await _connected(visitor.receiver)
            second = json.loads(await visitor.run(visitor.command(greeting)))
            assert (await line_with(listening, "attempt")).strip() == 'attempt 1 of greeting: {"to": "you"}'

        async def both_completed() -> bool:
            found = [await task(visitor, created["id"]) for created in (first, second)]
            return ["completed"] * 2 == [created["status"] for created in found]

        await eventually(both_completed, 20, "both tasks are completed")
        assert (await task(visitor, second["id"]))["result"]["result"] == {"received": second["id"]}
        for look in [block for block in BLOCKS if block.startswith(".venv/bin/mcp-queue")]:
            await visitor.run(look)
    assert product.returncode in STOPPED


@pytest.mark.timeout(300)
async def test_the_same_commands_run_on_sqs(visitor: Visitor, pytestconfig: pytest.Config) -> None:
    """Three variables are all that an emulator takes: no region, no credentials."""
    localstack = of_session(pytestconfig)
    visitor.environment = {name: value for name, value in visitor.environment.items() if not name.startswith("AWS_")}
    visitor.environment["SQS_WAIT_TIME_SECONDS"] = "1"  # a drain waits for open polls
    queues = visitor.command("export SQS_QUEUE_URL").replace("http://127.0.0.1:4566", localstack.url)
    async with visitor.running(f"sh -c '{queues} && exec make run'") as product:
        assert f":{visitor.gateway}/docs" in await line_with(product, "Swagger UI")
        echo = next(block for block in BLOCKS if block.startswith("curl"))
        created = json.loads(await visitor.run(visitor.command(echo)))

        async def completed() -> bool:
            return bool((await task(visitor, created["id"]))["status"] == "completed")

        await eventually(completed, 20, "the task is completed")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{visitor.gateway}/v1/queues/tasks") as answer,
        ):
            assert "sqs" == (await answer.json())["backend"]
    assert product.returncode in STOPPED


async def _connected(port: int) -> bool:
    async def look() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await eventually(look, 20, "the receiver listens")
    return True


def test_every_command_of_the_readme_is_accounted_for() -> None:
    """A new one needs a test, or a reason: this one runs this very suite."""
    elsewhere = ("make test",)
    tested = ("make run", "export SQS_QUEUE_URL", "curl", "python3 docs/examples/receiver.py", ".venv/bin/mcp-queue")

    assert [] == [block for block in BLOCKS if not block.startswith((*elsewhere, *tested))]
