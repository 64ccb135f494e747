"""What a request takes in memory, and who waits for it."""

import asyncio
import contextlib
import json
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from mcp_queue.domain.errors import OverloadedError
from mcp_queue.gateway.server.memory import SLICE_BYTES, WorkingMemory, working_memory
from tests.support.gateway import GatewayKit
from tests.support.http.application import call

MEBIBYTE = 1024 * 1024


def batch(payload: str, tasks: int) -> bytes:
    """Return a batch of ``tasks`` tasks, each with the JSON text ``payload``."""
    task = f'{{"type": "t", "payload": {payload}}}'
    return f'{{"tasks": [{",".join([task] * tasks)}]}}'.encode()


CONTENTS = {
    "ASCII": batch(json.dumps("x" * 4000), 1000),
    "CJK": batch(f'"{"中" * 1300}"', 1000),
    "emoji": batch(f'"{"x" * 4000}\U0001f600"', 1000),
    "accents": batch(f'"{"é" * 2000}"', 1000),
    "escapes": batch(json.dumps("中" * 700), 1000),
    "deep": batch('{"a":' * 90 + "1" + "}" * 90, 1000),
    "wide": batch(json.dumps({str(number): number for number in range(50_000)}), 4),
    "dense": batch("[" + ",".join(['{"a":{"a":1}}'] * 75) + "]", 1000),
    "many small": batch("1", 1000),
    "one large": batch(json.dumps("x" * 4_000_000), 1),
    "one large CJK": batch(f'"{"中" * 1_300_000}"', 1),
}


@pytest.mark.parametrize("body", CONTENTS.values(), ids=CONTENTS)
async def test_estimate_holds_for_every_content(body: bytes) -> None:
    """No batch takes more than it was let in for; what its queue keeps of it is in memory here, and is counted off."""
    kit = GatewayKit(max_task_bytes=100_000)
    await call(kit.app, "POST", "/v1/queues/tasks/tasks/batch", json={"tasks": [{"type": "warm-up"}]})
    tracemalloc.start()
    try:
        answer = await call(
            kit.app, "POST", "/v1/queues/tasks/tasks/batch", content=body, headers={"Content-Type": "application/json"}
        )
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status in {202, 207}
    assert most - kept < working_memory(body, kit.limits.max_task_text + SLICE_BYTES) + MEBIBYTE


@contextlib.asynccontextmanager
async def held(memory: WorkingMemory, size: int) -> AsyncIterator[asyncio.Event]:
    """Hold ``size`` bytes in a task of its own; yield what is set as soon as it has them."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with memory.reserved(size):
            entered.set()
            await leave.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(hold())
        await asyncio.sleep(0)
        yield entered
        leave.set()


def working(limit: int = 640, patience: float = 60) -> WorkingMemory:
    """Return a memory of ``limit`` bytes that is given back to nobody."""
    return WorkingMemory(limit, patience, lambda: None)


async def test_requests_wait_in_turn_until_there_is_room() -> None:
    """Also one that would fit does not overtake: large ones would wait without an end."""
    memory = working()
    order: list[str] = []

    async def take(name: str, size: int) -> None:
        async with memory.reserved(size):
            order.append(name)

    async with asyncio.TaskGroup() as group, held(memory, 300):
        group.create_task(take("large", 400))
        group.create_task(take("fits", 100))
        await asyncio.sleep(0)
        assert [] == order
    assert ["large", "fits"] == order


async def test_small_requests_do_not_wait_for_large_ones() -> None:
    """They have a part of their own."""
    memory = working()
    async with held(memory, 480), held(memory, 10) as small:
        assert small.is_set()


async def test_request_that_is_larger_than_all_is_let_in_alone() -> None:
    """It could never be served otherwise."""
    memory = working()
    async with held(memory, 5000) as giant:
        assert giant.is_set()


async def test_request_that_waits_too_long_is_refused() -> None:
    """And takes nothing."""
    memory = working(patience=0.01)
    async with held(memory, 480):
        with pytest.raises(OverloadedError):
            async with memory.reserved(100):
                pass
    async with memory.reserved(480):
        pass


async def test_turn_that_comes_to_a_request_just_refused_goes_to_the_next() -> None:
    """Whoever frees the memory notices nothing."""
    memory = working()

    async def take() -> None:
        async with memory.reserved(100):
            pass

    async with held(memory, 480):
        refused, served = asyncio.create_task(take()), asyncio.create_task(take())
        await asyncio.sleep(0)
        refused.cancel()
    await served
    assert refused.cancelled()


async def test_memory_is_given_back_after_large_requests_only() -> None:
    """It takes time, and small ones leave little."""
    given_back = 0

    def give_back() -> None:
        nonlocal given_back
        given_back += 1

    memory = WorkingMemory(640, 60, give_back)
    async with memory.reserved(10):
        pass
    assert 0 == given_back
    async with memory.reserved(100):
        pass
    assert 1 == given_back
