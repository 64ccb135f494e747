"""Handlers of the acceptance tests. Each execution leaves one line in the file that ``TEST_EFFECTS`` names."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from mcp_queue.domain.errors import PermanentError, RetryableError
from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.services.execution.router import TaskRouter

router = TaskRouter()


@router.task("test.ok")
async def succeed(task: Task) -> JsonValue:
    """Leave a line and succeed."""
    leave(task, "ok")
    return {"done": task.id}


@router.task("test.slow")
async def take_a_while(task: Task) -> JsonValue:
    """Leave a line after a moment, so that there is something to interrupt."""
    leave(task, "started")
    await asyncio.sleep(0.2)
    leave(task, "ok")
    return None


@router.task("test.endless")
async def run_until_cancelled(task: Task) -> JsonValue:
    """Leave a line at the start, and another when somebody stops it."""
    leave(task, "started")
    try:
        await asyncio.Event().wait()
    finally:
        leave(task, "stopped")
    return None


@router.task("test.sync")
def succeed_in_a_thread(task: Task) -> JsonValue:
    """Leave a line from a thread."""
    leave(task, "ok")
    return None


@router.task("test.flaky")
async def fail_first(task: Task) -> JsonValue:
    """Fail at the first attempt, succeed at the second."""
    if task.retry_count == 0:
        leave(task, "failed")
        raise RetryableError("the first attempt always fails")
    leave(task, "ok")
    return None


@router.task("test.broken")
async def never_succeed(task: Task) -> JsonValue:
    """Fail for good."""
    leave(task, "failed")
    raise PermanentError("this never works")


@router.task("test.exhausting")
async def always_fail(task: Task) -> JsonValue:
    """Fail at every attempt, each time as if another might succeed."""
    leave(task, "failed")
    raise RetryableError("not this time")


@router.task("test.stubborn")
async def refuse_to_stop(task: Task) -> JsonValue:
    """Run for a minute, whoever cancels it."""
    leave(task, "started")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)
    return None


@router.task("test.crashing")
def end_the_process(task: Task) -> JsonValue:
    """End the process at once, as the payload says: by ``exit``, or by the signal of this name."""
    leave(task, "crashed")
    if task.payload == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.Signals[str(task.payload)])
    return None


@router.task("test.unhurried")
async def take_seconds(task: Task) -> JsonValue:
    """Run so long that a crash beside it finds it running."""
    leave(task, "started")
    await asyncio.sleep(1)
    leave(task, "ok")
    return None


def leave(task: Task, what: str) -> None:
    """Append one line; a short append to a file is one write, whoever else appends."""
    line = {"id": task.id, "what": what, "group": task.group, "payload": task.payload, "at": time.time()}
    descriptor = os.open(os.environ["TEST_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


class Failures(BaseModel):
    """The payload of ``test.stumbling``."""

    failures: int
    mark: str = ""


@router.task("test.stumbling", payload=Failures)
async def fail_as_often_as_told(task: Task, told: Failures) -> JsonValue:
    """Fail so often, then succeed. The lines tell how often: a FIFO message does not say which attempt it is."""
    if failures_of(task) < told.failures:
        leave(task, "failed")
        raise RetryableError("not yet")
    leave(task, "ok")
    return None


@router.task("test.digest")
async def digest(task: Task) -> JsonValue:
    """Leave the SHA-256 of a large text in place of the text."""
    text = str(task.payload)
    leave(replace(task, payload={"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}), "ok")
    return None


def failures_of(task: Task) -> int:
    """Return how often the task failed, by the lines that its executions left."""
    path = Path(os.environ["TEST_EFFECTS"])
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(line["id"] == task.id and line["what"] == "failed" for line in map(json.loads, lines))
