"""Submits a file of tasks in batches, with constant memory."""

import asyncio
import os
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mcp_queue.cli.client.http import GatewayClient, GatewayRefusedError
from mcp_queue.cli.client.paths import queue_path
from mcp_queue.cli.errors import CommandError

#: The gateway's limits for one batch.
MAX_TASKS = 1000
MAX_BYTES = 16 * 1024 * 1024

_TRIES = 6
_LONGEST_PAUSE_SECONDS = 30.0


@dataclass(slots=True)
class FileCounts:
    """How many tasks were accepted, and how many refused."""

    accepted: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file; numbers start at 1. ``text`` is ``None`` where it is too long for any batch."""

    number: int
    text: bytes | None
    size: int


def lines_of(stream: BinaryIO) -> Iterator[Line]:
    """Yield every line that is not blank."""
    number = 0
    while text := stream.readline(MAX_BYTES + 1):
        number += 1
        text = text.removeprefix(BOM_UTF8) if number == 1 else text
        if len(text) > MAX_BYTES:
            size = len(text)
            while not text.endswith(b"\n") and (text := stream.readline(MAX_BYTES)):
                size += len(text)
            yield Line(number, None, size)
        elif text.strip():
            yield Line(number, text.strip(), len(text))


def batches_of(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Group ``lines`` into batches; a line that is too long for any batch is a batch of its own."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == MAX_TASKS or size + line.size > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += line.size
    if batch:
        yield batch


async def enqueue_file(gateway: GatewayClient, queue: str, name: str, stream: BinaryIO) -> FileCounts:
    """Submit the tasks in ``stream``. Each refused line is reported on standard error as ``name:number: reason``.

    Raises:
        CommandError: the gateway does not answer, or refuses a whole batch. The message names the lines.

    """
    counts = FileCounts()
    with _progress() as progress:
        bar = progress.add_task("", total=_size(stream), counts=counts)
        for batch in batches_of(lines_of(stream)):
            async for part, reasons in _sent(gateway, queue, batch, counts):
                for line, reason in zip(part, reasons, strict=True):
                    if reason is None:
                        counts.accepted += 1
                    else:
                        counts.failed += 1
                        progress.console.print(f"{name}:{line.number}: {reason}", markup=False, soft_wrap=True)
                progress.advance(bar, sum(line.size for line in part))
    return counts


def _progress() -> Progress:
    console = Console(stderr=True, highlight=False)
    summary = TextColumn("{task.fields[counts].accepted:,} accepted, {task.fields[counts].failed:,} refused")
    return Progress(
        BarColumn(), summary, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    )


def _size(stream: BinaryIO) -> int | None:
    """Return the size in bytes, ``None`` for a pipe."""
    return os.fstat(stream.fileno()).st_size or None


async def _sent(
    gateway: GatewayClient, queue: str, batch: list[Line], counts: FileCounts
) -> AsyncIterator[tuple[list[Line], list[str | None]]]:
    """Send ``batch``, in halves where the gateway says that it is too large: few bytes may hold too many values.

    Yield each part that was answered, with one reason for each line: ``None`` where it was accepted.
    """
    parts = [batch]
    while parts:
        part = parts.pop()
        try:
            yield part, await _verdicts(gateway, queue, part)
        except GatewayRefusedError as error:
            if error.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise CommandError(_unconfirmed(part, str(error))) from error
            if len(part) == 1:
                yield part, [str(error)]
            else:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
        except CommandError as error:
            raise CommandError(_unconfirmed(part, str(error))) from error
        except asyncio.CancelledError:
            interrupted = f"interrupted; {counts.accepted} tasks were submitted before"
            typer.echo(_unconfirmed(part, interrupted), err=True)
            raise


async def _verdicts(gateway: GatewayClient, queue: str, batch: list[Line]) -> list[str | None]:
    if batch[0].text is None:
        return [f"task_too_large: the line has {batch[0].size} bytes, a request takes {MAX_BYTES}"]
    answer = await _send(gateway, queue, b"\n".join(line.text or b"" for line in batch))
    return [_reason(result) for result in answer["results"]]


def _unconfirmed(batch: list[Line], reason: str) -> str:
    return f"lines {batch[0].number} to {batch[-1].number} are not confirmed: {reason}"


def _reason(result: dict[str, Any]) -> str | None:
    error = result.get("error")
    if error is None:
        return None
    # The gateway counts the lines of its batch, the user those of the file.
    detail = str(error["detail"]).removeprefix(f"{result['index']}.")
    return f"{error['code']}: {detail}"


async def _send(gateway: GatewayClient, queue: str, lines: bytes) -> Any:
    """Send one batch. Wait and try again while the gateway is overloaded: then it has taken none of the tasks."""
    for _ in range(_TRIES - 1):
        try:
            return await gateway.post(queue_path(queue, "tasks", "batch"), lines=lines)
        except GatewayRefusedError as error:
            if error.status != HTTPStatus.TOO_MANY_REQUESTS and error.code != "overloaded":
                raise
            await asyncio.sleep(min(error.retry_after or 0, _LONGEST_PAUSE_SECONDS))
    return await gateway.post(queue_path(queue, "tasks", "batch"), lines=lines)
