"""Other SQS clients: what they write is read, what we write they read."""

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.localstack import CACHE
from tests.support.queues import make_task
from tests.support.sqs import create_queue, sqs_backend, sqs_client, sqs_spec

pytestmark = pytest.mark.usefixtures("localstack")

SOURCES = Path(__file__).parent / "npm"


@pytest.fixture(scope="session")
def npm() -> Path:
    """Install the clients once; return where their scripts lie."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node is not installed")
    sources = sorted(SOURCES.iterdir())
    key = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    home = CACHE / f"npm-{key}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "installed").exists():
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(SOURCES, home)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=home, check=True, capture_output=True)
            (home / "installed").touch()
    return home


async def node(script: Path, *arguments: str) -> str:
    """Run a script to its end; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        "node", script, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    )
    output, errors = await process.communicate()
    assert 0 == process.returncode, errors.decode()
    return output.decode()


async def test_a_task_that_sqs_producer_wrote_is_read(npm: Path) -> None:
    """In the wire form; of its members only the type is required."""
    async with sqs_client() as sqs:
        url = await create_queue(sqs)
    written = {"type": "embedding", "priority": 2, "payload": {"text": "größer 雪"}, "metadata": {"from": "node"}}
    await node(npm / "produce.mjs", url, json.dumps(written))
    async with sqs_backend(sqs_spec("work", url)) as backend:
        (delivery,) = await backend.queue("work").receive(1, timedelta(seconds=5))
        await backend.queue("work").complete(delivery)
    task = delivery.task
    assert task is not None
    assert (delivery.message_id, "embedding", 2, {"text": "größer 雪"}, {"from": "node"}) == (
        task.id,
        task.type,
        task.priority,
        task.payload,
        task.metadata,
    )


async def test_a_task_that_we_wrote_is_read_by_sqs_consumer(npm: Path) -> None:
    """Body and attributes."""
    async with sqs_client() as sqs:
        url = await create_queue(sqs)
    async with sqs_backend(sqs_spec("work", url)) as backend:
        await backend.queue("work").enqueue(make_task("t-1", priority=3, payload={"text": "größer 雪"}))
    read = json.loads(await node(npm / "consume.mjs", url))
    assert ("t-1", "echo", {"text": "größer 雪"}) == tuple(read["body"][name] for name in ("id", "type", "payload"))
    assert ("echo", "3") == tuple(read["attributes"][name]["StringValue"] for name in ("Type", "Priority"))
