"""How the consumer's process ends."""

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from bench.processes import Service
from tests.support.processes.stack import make_stack
from tests.support.waiting import eventually


async def test_a_stubborn_handler_does_not_keep_the_process(tmp_path: Path) -> None:
    """After the second signal it ends within seconds, with exit code 0, though a handler ignores its cancellation."""
    stack = make_stack(tmp_path)
    try:
        await asyncio.gather(stack.gateway.start(), stack.consumer.start())
        async with (
            aiohttp.ClientSession(stack.gateway.url) as session,
            session.post("/v1/queues/tasks/tasks", json={"type": "test.stubborn"}) as answer,
        ):
            assert 202 == answer.status

        async def started() -> bool:
            return bool(stack.effects())

        await eventually(started, 20, "the handler runs")
        process = stack.consumer.process
        assert process is not None
        process.send_signal(signal.SIGTERM)

        async def draining() -> bool:
            return "draining" in stack.consumer.log.read_text()

        await eventually(draining, 20, "the consumer drains")
        async with asyncio.timeout(25):
            assert 0 == await stack.consumer.stop()
    finally:
        await asyncio.gather(stack.gateway.stop(), stack.consumer.stop())


@pytest.mark.parametrize("service", ["gateway", "consumer"])
async def test_a_data_directory_that_cannot_be_is_one_readable_line(tmp_path: Path, service: str) -> None:
    """The variable is named, and no stack is shown."""
    (tmp_path / "file").write_text("in the way")
    stack = make_stack(tmp_path, QUEUE_DATA_DIR=str(tmp_path / "file" / "var"))
    process: Service = getattr(stack, service)
    with pytest.raises(AssertionError):
        await process.start()
    await process.stop()

    lines = process.log.read_text()
    assert "QUEUE_DATA_DIR: cannot make the directory" in lines
    assert "Traceback" not in lines
