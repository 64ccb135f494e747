"""Tasks that end the consumer's process take no other along."""

import asyncio
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.support.processes.stack import Operator, Stack, make_stack, operator_of
from tests.support.waiting import eventually, pause

CONFIG = """
queue:
  sqs:
    queues:
      - {name: dlq, type: standard}
      - {name: orders-dlq, type: fifo}
      - {name: tasks, type: standard, visibility_timeout: 5, max_receive_count: 1}
      - {name: orders, type: fifo, visibility_timeout: 5, max_receive_count: 40, dead_letter_queue: orders-dlq}
"""
CRASHERS = ("exit", "SIGSEGV", "SIGKILL")


async def test_crashes_are_counted_against_the_tasks_that_cause_them(tmp_path: Path) -> None:
    """By exit, by a signal, or out of memory (SIGKILL): handlers, callbacks and FIFO heads beside them succeed."""
    async with aiohttp.ClientSession() as calls:
        runner = await _receiver()
        stack = make_stack(tmp_path, CONFIG)
        try:
            await asyncio.gather(stack.gateway.start(), stack.consumer.start())
            async with operator_of(stack) as operator:
                crashing, healthy = await _enqueue(operator, runner.addresses[0][1])

                async def ended() -> bool:
                    await _restarted(stack)
                    tasks = [await operator.get(f"/v1/tasks/{task_id}") for task_id in [*crashing, *healthy]]
                    return all(task["status"] in {"completed", "dead_lettered"} for task in tasks)

                await eventually(ended, 180, "every task has ended")
                statuses = [(await operator.get(f"/v1/tasks/{task_id}"))["status"] for task_id in healthy]
                assert ["completed"] * len(healthy) == statuses
                for task_id in crashing:
                    assert "dead_lettered" == (await operator.get(f"/v1/tasks/{task_id}"))["status"]
                runs = [line["id"] for line in stack.effects() if line["what"] == "crashed"]
                assert max(map(runs.count, crashing)) <= 3
        finally:
            await asyncio.gather(*(service.stop() for service in stack.services), runner.cleanup(), calls.close())


async def _receiver() -> web.AppRunner:
    async def answer(_request: web.Request) -> web.Response:
        await pause(1)
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


async def _enqueue(operator: Operator, port: int) -> tuple[list[str], list[str]]:
    """Return the ids of tasks that end the process, and of those around them."""

    async def put(queue: str, **task: object) -> str:
        answer = await operator.post(f"/v1/queues/{queue}/tasks", task)
        return str(answer["id"])

    url = f"http://127.0.0.1:{port}/"
    before = [await put("tasks", type="test.unhurried") for _ in range(2)]
    before += [await put("tasks", type="called", callback_url=url) for _ in range(2)]
    before += [await put("orders", type="test.unhurried", group=group) for group in ("a", "a", "b")]
    crashing = [await put("tasks", type="test.crashing", payload=how) for how in CRASHERS]
    after = [await put("tasks", type="test.unhurried") for _ in range(2)]
    return crashing, before + after


async def _restarted(stack: Stack) -> None:
    """Start the consumer again if it has ended, as whatever supervises it would."""
    process = stack.consumer.process
    if process is None or process.poll() is not None:
        await stack.consumer.stop()
        await asyncio.wait({asyncio.create_task(_tried(stack))})


async def _tried(stack: Stack) -> None:
    try:
        await stack.consumer.start()
    except AssertionError:
        return  # it ended before it was ready: a suspect was visible at once
