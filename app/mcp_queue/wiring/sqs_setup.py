"""Inspects the configured queues at SQS, and creates or corrects them."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqs.api.client import ClientFactory
from mcp_queue.adapters.sqs.backend import SqsBackend
from mcp_queue.adapters.sqs.setup.addresses import region_of
from mcp_queue.adapters.sqs.setup.apply import AttributeDefaults, Plan, apply_queues
from mcp_queue.config.settings import Settings
from mcp_queue.domain.errors import QueueError, QueueSetupError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.telemetry.metrics import PrometheusMetrics

#: How long ``config check`` waits for SQS.
INSPECTION_TIMEOUT = timedelta(seconds=5)


async def apply_to_sqs(settings: Settings, *, dry_run: bool) -> Sequence[Plan]:
    """Create or correct the configured queues at SQS; return the changes of each. ``dry_run`` changes nothing.

    Raises:
        QueueSetupError: none is configured, one cannot be what it is configured as, or SQS refuses.

    """
    specs = _at_sqs(settings)
    if not specs:
        raise QueueSetupError("no queue is at SQS: set SQS_QUEUE_URL and SQS_DLQ_URL, or a url in the file")
    defaults = AttributeDefaults(wait_time=settings.sqs.wait_time, kms_key=settings.sqs.kms_key, tags=settings.sqs.tags)
    clients = ClientFactory(
        region=settings.sqs.region,
        endpoint_url=settings.sqs.endpoint_url,
        metrics=_metrics(),
        clock=SystemClock(),
        random=random.random,
        queues_region=region_of(spec.url or "" for spec in specs),
    )
    return await apply_queues(specs, defaults, clients, dry_run=dry_run)


async def sqs_warnings(settings: Settings) -> list[str]:
    """Return a warning for each difference between the configuration and SQS, or that SQS does not answer."""
    if not _at_sqs(settings):
        return []
    backend = SqsBackend(
        settings.queues,
        clock=SystemClock(),
        random=random.random,
        serializer=JsonTaskSerializer(),
        metrics=_metrics(),
        region=settings.sqs.region,
        endpoint_url=settings.sqs.endpoint_url,
        wait_time=settings.sqs.wait_time,
    )
    try:
        async with asyncio.timeout(INSPECTION_TIMEOUT.total_seconds()), backend:
            return backend.warnings
    except TimeoutError:
        return [f"SQS was not looked at: no answer within {INSPECTION_TIMEOUT.total_seconds():g} s"]
    except QueueError as error:
        return [f"SQS was not looked at: {error}"]


def _at_sqs(settings: Settings) -> list[QueueSpec]:
    return [spec for spec in settings.queues if spec.backend is Backend.SQS and spec.kind is not QueueKind.PRIORITY]


def _metrics() -> PrometheusMetrics:
    return PrometheusMetrics(())
