"""Tells of messages in the embedded queue's file that no configured queue holds, and moves them to one that is."""

import asyncio
import logging

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqlite.backend import SqliteBackend
from mcp_queue.adapters.sqlite.leftovers import Leftover, leftovers_in
from mcp_queue.config.settings import Settings
from mcp_queue.domain.errors import (
    BackendUnavailableError,
    NotFoundError,
    QueueError,
    QueueNotFoundError,
    QueueSetupError,
)
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.services.queues.moving import MoveOutcome, QueueMover
from mcp_queue.telemetry.metrics import PrometheusMetrics
from mcp_queue.wiring.queues import EMBEDDED_FILE, open_queues

logger = logging.getLogger(__name__)


def leftovers(settings: Settings) -> list[Leftover]:
    """Return what lies in the file under names that no embedded queue has. Reads the disk.

    Raises:
        BackendUnavailableError: the file cannot be read.

    """
    embedded = {spec.name for spec in settings.queues if spec.backend is Backend.SQLITE}
    return leftovers_in(settings.data_dir / EMBEDDED_FILE, embedded)


def leftover_warnings(settings: Settings) -> list[str]:
    """Return a warning for each queue whose messages nobody receives any more."""
    try:
        return [
            f"{leftover.messages} messages of {leftover.queue!r} wait in {EMBEDDED_FILE}, and it is not embedded: "
            f"move them with mcp-queue queues move {leftover.queue} QUEUE"
            for leftover in leftovers(settings)
        ]
    except QueueError as error:
        return [f"{EMBEDDED_FILE} was not looked at: {error}"]


def warn_of_leftovers(settings: Settings) -> bool:
    """Log each warning; return whether there are any."""
    warnings = leftover_warnings(settings)
    for warning in warnings:
        logger.warning("%s", warning)
    return bool(warnings)


async def check_leftovers(settings: Settings) -> None:
    """Check that no message waits for a queue that is embedded no more.

    Raises:
        BackendUnavailableError: some do.

    """
    if warnings := await asyncio.to_thread(leftover_warnings, settings):
        raise BackendUnavailableError("; ".join(warnings))


async def move_messages(settings: Settings, source: str, target: str) -> MoveOutcome:
    """Move what waits in the file as the queue ``source`` to the configured queue ``target``, delayed tasks included.

    Raises:
        NotFoundError: the file has no messages of ``source``, or ``target`` is not configured.
        QueueSetupError: both are one queue.
        QueueError: a backend does not answer, or cannot be opened.

    """
    clock = SystemClock()
    async with open_queues(settings, clock, PrometheusMetrics(())) as queues:
        to = queues.public.get(target) or queues.by_name.get(target)
        if to is None:
            raise QueueNotFoundError(target)
        if source == target and to.spec.backend is Backend.SQLITE:
            raise QueueSetupError("the messages are in this queue already")
        found = await asyncio.to_thread(leftovers_in, settings.data_dir / EMBEDDED_FILE, ())
        left = next((leftover for leftover in found if leftover.queue == source), None)
        if left is None:
            message = f"{EMBEDDED_FILE} holds no messages of {source!r}"
            raise NotFoundError(message)
        kind = QueueKind.FIFO if left.fifo else QueueKind.STANDARD
        file = SqliteBackend(settings.data_dir / EMBEDDED_FILE, clock=clock, serializer=JsonTaskSerializer())
        async with file as backend:
            await backend.reveal(source)
            queue = backend.queue(QueueSpec(name=source, kind=kind, backend=Backend.SQLITE))
            return await QueueMover(queue, to, clock, queues.dead_letter_sinks.get(target)).move_all()
