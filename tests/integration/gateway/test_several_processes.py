"""Several gateway processes on one machine."""

import asyncio
from dataclasses import replace
from pathlib import Path

import aiohttp

from bench.processes import free_port
from tests.support.processes.stack import make_stack


async def test_metrics_of_several_processes_add_up(tmp_path: Path) -> None:
    """Whichever process is asked, it tells of all of them."""
    stack = make_stack(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "metrics"))
    port = free_port()
    first = stack.gateway
    second = replace(
        first,
        port=port,
        environment={**first.environment, "GATEWAY_PORT": str(port)},
        log=tmp_path / "second.log",
    )
    try:
        await asyncio.gather(first.start(), second.start())
        async with aiohttp.ClientSession() as session:
            for service, count in ((first, 3), (second, 2)):
                for _ in range(count):
                    async with session.post(f"{service.url}/v1/queues/tasks/tasks", json={"type": "echo"}) as answer:
                        assert 202 == answer.status
            async with session.get(f"{first.url}/metrics") as answer:
                text = await answer.text()
    finally:
        await asyncio.gather(first.stop(), second.stop())

    assert 'mcp_queue_tasks_enqueued_total{queue="tasks",task_type="echo"} 5.0' in text
