"""Opens the configured queues on their backends."""

import contextlib
import logging
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from mcp_queue.adapters.s3 import S3PayloadStore
from mcp_queue.adapters.sqlite.backend import SqliteBackend
from mcp_queue.adapters.sqlite.queue import SqliteQueue
from mcp_queue.adapters.sqs.api.client import CallMetrics
from mcp_queue.adapters.sqs.backend import SqsBackend
from mcp_queue.config.settings import Settings
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.ports import Clock, DeadLetterSink, MessageBrowser, MessageMover, PauseSwitch, PayloadStore, Queue
from mcp_queue.services.queues.priority import PriorityQueue, ProducerQueue, leaves
from mcp_queue.wiring.process import make_directory, make_private_file

logger = logging.getLogger(__name__)

_ESCAPED = 6
EMBEDDED_FILE = "queue.db"
#: The embedded queue wakes its pollers itself, and ends their polls on request.
EMBEDDED_WAIT = timedelta(seconds=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """Every queue: ``by_name`` has levels and dead-letter queues too, ``public`` the queues that clients can use.

    ``pauses`` and ``movers`` hold the pause switch and the message mover of each public queue that has one, and
    ``dead_letter_sinks`` the dead-letter queues at SQS as other backends see them, ``browsers`` the embedded queues.
    """

    by_name: Mapping[str, Queue]
    public: Mapping[str, ProducerQueue]
    pauses: Mapping[str, PauseSwitch]
    movers: Mapping[str, MessageMover] = field(default_factory=dict)
    dead_letter_sinks: Mapping[str, DeadLetterSink] = field(default_factory=dict)
    browsers: Mapping[str, MessageBrowser] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def open_queues(
    settings: Settings, clock: Clock, metrics: CallMetrics, *, delete_linger: timedelta = timedelta(0)
) -> AsyncIterator[Queues]:
    """Open the backends of the configured queues, and close them at the end.

    At SQS, deletes wait for company for ``delete_linger``; see ``SqsBackend``.

    Raises:
        QueueError: a backend cannot be opened.

    """
    physical = [spec for spec in settings.queues if spec.kind is not QueueKind.PRIORITY]
    serializer = JsonTaskSerializer()
    async with contextlib.AsyncExitStack() as stack:
        by_name: dict[str, Queue] = {}
        pauses: PauseSwitch | None = None
        movers: Mapping[str, MessageMover] = {}
        sinks: dict[str, DeadLetterSink] = {}
        browsers: Mapping[str, SqliteQueue] = {}
        if any(spec.backend is Backend.SQS for spec in physical):
            sqs = SqsBackend(
                settings.queues,
                clock=clock,
                random=random.random,
                serializer=serializer,
                metrics=metrics,
                region=settings.sqs.region,
                endpoint_url=settings.sqs.endpoint_url,
                worker_count=settings.workers.count,
                wait_time=settings.sqs.wait_time,
                payload_store=await _payload_store(settings, physical, stack),
                delete_linger=delete_linger,
            )
            await stack.enter_async_context(sqs)
            for warning in sqs.warnings:
                logger.warning("%s", warning)
            by_name |= {spec.name: sqs.queue(spec.name) for spec in physical if spec.backend is Backend.SQS}
            movers = sqs.movers
            sinks = {name: sqs.dead_letter_sink(name) for name in settings.dead_letter_queues if name in by_name}
        if any(spec.backend is Backend.SQLITE for spec in physical):
            make_directory(settings.data_dir, "QUEUE_DATA_DIR")
            make_private_file(settings.data_dir / EMBEDDED_FILE, "QUEUE_DATA_DIR")
            embedded = SqliteBackend(settings.data_dir / EMBEDDED_FILE, clock=clock, serializer=serializer)
            await stack.enter_async_context(embedded)
            pauses = embedded.pauses
            local = [spec for spec in physical if spec.backend is Backend.SQLITE]
            browsers = {spec.name: embedded.queue(spec, sinks.get(spec.dead_letter_queue or "")) for spec in local}
            by_name |= browsers
        public = {spec.name: _public(spec, by_name) for spec in settings.queues if spec.name == spec.public_name}
        switches = _switches(public, pauses)
        yield Queues(
            by_name=by_name,
            public=public,
            pauses=switches,
            movers=movers,
            dead_letter_sinks=sinks,
            browsers=browsers,
        )


async def _payload_store(
    settings: Settings, specs: Sequence[QueueSpec], stack: contextlib.AsyncExitStack
) -> PayloadStore | None:
    buckets = {spec.payload_bucket for spec in specs if spec.payload_bucket is not None}
    if not buckets:
        return None
    # A character that SQS refuses, and in bodies of version 0.1 every one beyond ASCII, is an escape of six bytes.
    longest = max(spec.max_task_bytes for spec in specs) * _ESCAPED
    return await stack.enter_async_context(S3PayloadStore(buckets, max_bytes=longest, region=settings.sqs.region))


def _public(spec: QueueSpec, by_name: Mapping[str, Queue]) -> ProducerQueue:
    if spec.kind is not QueueKind.PRIORITY:
        return by_name[spec.name]
    return PriorityQueue(spec, {level: by_name[name] for level, name in spec.levels.items()})


def _switches(public: Mapping[str, ProducerQueue], embedded: PauseSwitch | None) -> dict[str, PauseSwitch]:
    if embedded is None:
        return {}
    return {
        name: embedded
        for name, queue in public.items()
        if any(leaf.spec.backend is Backend.SQLITE for leaf in leaves(queue))
    }
