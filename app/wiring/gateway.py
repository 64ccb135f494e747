"""Builds the gateway and serves it until a signal ends it."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from types import FrameType

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from app.adapters.clock import SystemClock
from app.config.settings import Settings
from app.gateway.application import create_app
from app.gateway.openapi import openapi_yaml
from app.gateway.parts import GatewayParts, Limits
from app.gateway.protocol import GuardedProtocol
from app.gateway.readiness import Readiness
from app.ports import Clock
from app.services.enqueueing import EnqueueRules
from app.services.jobs import running
from app.services.purges import Purges
from app.services.queue_manager import QueueManager
from app.services.submission import Submission
from app.telemetry.metrics import PrometheusMetrics, exposition
from app.wiring.handlers import known_payloads, known_types, load_router
from app.wiring.ledger import make_core, opened_ledger
from app.wiring.process import Signals, package_version, start_logging
from app.wiring.queues import open_queues


@contextlib.asynccontextmanager
async def gateway_app(settings: Settings) -> AsyncIterator[tuple[FastAPI, Readiness]]:
    """Return the app over open queues, and the switch that takes it out of service.

    Raises:
        QueueError: a queue backend cannot be opened, or a handler cannot be loaded.

    """
    clock, registry = SystemClock(), CollectorRegistry()
    router = load_router(settings.handlers)
    metrics = PrometheusMetrics(registry, known_types(settings, router))
    rules = EnqueueRules(payload_models=known_payloads(router), egress=settings.callbacks.egress)
    limits = Limits(
        max_task_bytes=settings.gateway.max_task_bytes,
        max_request_bytes=settings.gateway.max_request_bytes,
        max_in_work=settings.gateway.max_requests,
    )
    async with (
        open_queues(settings, clock, metrics) as queues,
        opened_ledger(settings, clock, metrics) as ledger,
    ):
        core = make_core(settings, queues, ledger, rules, clock=clock, metrics=metrics)
        backends = {name: queue.ping for name, queue in core.manager.backends().items()}
        readiness = Readiness(backends, {} if ledger is None else {"ledger": ledger.ping})
        async with running(core.jobs, clock):
            yield create_app(_parts(core.manager, readiness, clock, registry, limits)), readiness


def _parts(
    manager: QueueManager, readiness: Readiness, clock: Clock, registry: CollectorRegistry, limits: Limits
) -> GatewayParts:
    return GatewayParts(
        manager=manager,
        readiness=readiness,
        clock=clock,
        registry=registry,
        render_metrics=lambda: exposition(registry),
        new_trace_id=lambda: secrets.token_hex(16),
        version=package_version(),
        limits=limits,
    )


def openapi_text() -> str:
    """Return the HTTP contract as YAML. It is the same for every configuration."""
    clock, registry = SystemClock(), CollectorRegistry()
    metrics = PrometheusMetrics(registry, ())
    manager = QueueManager(
        {},
        pauses={},
        rules=EnqueueRules(),
        clock=clock,
        metrics=metrics,
        random_bits=secrets.randbits,
        submission=Submission(None, clock=clock, metrics=metrics),
        purges=Purges((), None, clock),
    )
    return openapi_yaml(create_app(_parts(manager, Readiness({}), clock, registry, Limits())))


class _Server(uvicorn.Server):
    """Says that it drains as soon as the signal comes, before it stops accepting."""

    def __init__(self, config: uvicorn.Config, readiness: Readiness) -> None:
        super().__init__(config)
        self._readiness = readiness

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._readiness.draining = True
        super().handle_exit(sig, frame)


async def run_gateway(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then answer what has come in, within the grace period.

    Raises:
        QueueError: a queue backend cannot be opened.
        OSError: the address cannot be bound.

    """
    start_logging(settings)
    async with gateway_app(settings) as (app, readiness):
        config = uvicorn.Config(
            app,
            host=settings.gateway.host,
            port=settings.gateway.port,
            http=GuardedProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(settings.shutdown_grace.total_seconds()) or 1,
        )
        readiness.started = True
        # uvicorn raises the signal once more when it has drained: heard here, it does not end the process by itself.
        with Signals().heard():
            await _Server(config, readiness).serve()
