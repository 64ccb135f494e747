"""The memory of a gateway process stays within what the manifests give it, whatever it is sent."""

import asyncio
import contextlib
import io
import json
import socket
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from tests.support.processes.memory import inside, memory_group, peak_memory
from tests.support.processes.stack import make_stack

MEBIBYTE = 1024 * 1024
#: What the shipped manifests give a gateway.
LIMIT = 512 * MEBIBYTE
TASKS = "/v1/queues/tasks/tasks"


def task(payload: str) -> str:
    """Return a task with the JSON text ``payload``."""
    return f'{{"type": "t", "payload": {payload}}}'


def batch(payload: str, tasks: int) -> bytes:
    """Return a batch of ``tasks`` tasks, each with the JSON text ``payload``."""
    return f'{{"tasks": [{",".join([task(payload)] * tasks)}]}}'.encode()


NESTED = "[" + ",".join(['{"a":{"a":1}}'] * 800) + "]"
BATCHES = {
    "ascii": batch(json.dumps("x" * 15_000), 1000),
    "cjk": batch(f'"{"中" * 5_000}"', 1000),
    "too large": batch(f'"{"中" * 340_000}"', 15),
    "emoji": batch(f'"{"x" * 1_000_000}\U0001f600"', 15),
    "one": batch(f'"{"x" * 15_000_000}\U0001f600"', 1),
    "deep": batch('{"a":' * 90 + "1" + "}" * 90, 1000),
    "wide": batch(json.dumps({str(number): number for number in range(20_000)}), 12),
    "nested": batch(NESTED, 75),
    "small": batch("1", 1000),
}
SINGLES = {"large": task(json.dumps("x" * 1_000_000)).encode(), "dense": task(NESTED).encode()}
MIXES: Mapping[str, Mapping[str, int]] = {
    "refused CJK": {"too large": 4},
    "valid CJK": {"cjk": 4},
    "ASCII": {"ascii": 16},
    "one large": {"one": 4, "emoji": 4},
    "everything": {**dict.fromkeys(BATCHES, 2), "large": 50, "dense": 100},
}


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
async def test_memory_stays_within_the_manifests(mix: Mapping[str, int], tmp_path: Path) -> None:
    """Each request is answered, many with 202 or 207, and the process lives on."""
    with memory_group(LIMIT) as group:
        gateway = make_stack(tmp_path).gateway
        with contextlib.nullcontext() if group is None else inside(group):
            await gateway.start()
        try:
            async with aiohttp.ClientSession(gateway.url) as session:
                names = [name for name, times in mix.items() for _ in range(times)]
                statuses = Counter(await asyncio.gather(*(status(session, name) for name in names)))
                assert {202, 207, 503} >= statuses.keys()
                assert statuses[202] + statuses[207] >= len(names) // 4
                async with session.post(TASKS, json={"type": "t"}) as answer:
                    assert 202 == answer.status
            assert gateway.process is not None
            assert peak_memory(gateway.process.pid) < LIMIT
        finally:
            await gateway.stop()


async def status(session: aiohttp.ClientSession, name: str) -> int:
    """Return the status of the answer to the request of this ``name``."""
    path, body = (TASKS, SINGLES[name]) if name in SINGLES else (f"{TASKS}/batch", BATCHES[name])
    async with session.post(path, data=io.BytesIO(body), headers={"Content-Type": "application/json"}) as answer:
        await answer.read()
        return answer.status


async def test_answer_that_nobody_reads_keeps_its_memory_taken(tmp_path: Path) -> None:
    """Answers repeat the payload: clients that do not read them hold no more of them than is let in."""
    gateway = make_stack(tmp_path).gateway
    await gateway.start()
    body = task(f'"{"中" * 170_000}"').encode()
    head = f"POST {TASKS} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(300):
                connection = stack.enter_context(socket.socket())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", gateway.port))
                await asyncio.to_thread(connection.sendall, head.encode() + body)
            async with aiohttp.ClientSession(gateway.url) as session, session.post(TASKS, json={"type": "t"}) as answer:
                assert 202 == answer.status
            assert gateway.process is not None
            assert peak_memory(gateway.process.pid) < LIMIT
        finally:
            await gateway.stop()
