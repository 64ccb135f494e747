"""Builds the gateway, and serves it until a signal arrives."""

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.config import environment
from mcp_queue.config.settings import Settings
from mcp_queue.domain.operators.keys import ApiKey
from mcp_queue.gateway.application import create_app, create_service_app
from mcp_queue.gateway.dependencies import GatewayDependencies, RequestLimits
from mcp_queue.gateway.openapi import openapi_yaml
from mcp_queue.gateway.resources.service.readiness import GatewayReadiness
from mcp_queue.gateway.server.auth import Authenticator
from mcp_queue.ports import Clock, Tracer
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.periodic import running
from mcp_queue.telemetry.http_metrics import HttpMetrics
from mcp_queue.telemetry.metrics import PrometheusMetrics
from mcp_queue.telemetry.spans import current_trace_id
from mcp_queue.telemetry.tracing import tracing
from mcp_queue.wiring.dead_letters import OperatorServices, build_operator_services
from mcp_queue.wiring.handlers import known_payloads, known_types, load_router
from mcp_queue.wiring.leftovers import check_leftovers, warn_of_leftovers
from mcp_queue.wiring.ports import allow_connections
from mcp_queue.wiring.process import (
    Signals,
    freeze_startup_objects,
    make_directory,
    package_version,
    return_freed_memory,
    start_logging,
)
from mcp_queue.wiring.queues import Queues, open_queues
from mcp_queue.wiring.serving import KeyReader, Server, reloading_keys, serving_metrics_port
from mcp_queue.wiring.shared_services import SharedServices, build_shared_services, ledger_jobs, opened_ledger

logger = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def gateway_parts(
    settings: Settings, authenticator: Authenticator, tracer: Tracer
) -> AsyncIterator[GatewayDependencies]:
    """Return what the app is made of, over open queues.

    Raises:
        QueueError: a queue backend cannot be opened, or a handler cannot be loaded.

    """
    clock = SystemClock()
    shared = settings.shared_metrics
    if shared is not None:
        make_directory(shared, "PROMETHEUS_MULTIPROC_DIR")  # before the first metric, which opens a file in it
    router = load_router(settings.handlers)
    metrics = PrometheusMetrics(known_types(settings, router))
    rules = EnqueueRules(payload_models=known_payloads(router), egress=settings.callbacks.egress)
    limits = RequestLimits(
        max_task_bytes=settings.gateway.max_task_bytes,
        max_request_bytes=settings.gateway.max_request_bytes,
        max_in_work=settings.gateway.max_requests,
    )
    async with (
        open_queues(settings, clock, metrics) as queues,
        opened_ledger(settings, clock, metrics) as ledger,
    ):
        services = build_shared_services(queues, ledger, rules, clock=clock, metrics=metrics, tracer=tracer)
        others = {} if isinstance(ledger, NoLedger) else {"ledger": ledger.ping}
        if warn_of_leftovers(settings):
            others["leftovers"] = partial(check_leftovers, settings)
        readiness = GatewayReadiness(services.manager.task_queues(), others, clock=clock)
        own_names = {route.name for route in settings.routes if route.name is not None}
        operators = build_operator_services(
            queues, ledger, services, rules, own_names=own_names, clock=clock, metrics=metrics
        )
        jobs = ledger_jobs(settings.ledger, services, queues, ledger, clock=clock, metrics=metrics)
        async with running(jobs, clock), operators.redriving:
            parts = _parts(services, operators, readiness, clock, metrics, limits, authenticator)
            yield replace(parts, render_metrics=lambda: metrics.render(shared), give_back_memory=return_freed_memory())


def _parts(  # noqa: PLR0917  # one call, and each argument of a type of its own
    services: SharedServices,
    operators: OperatorServices,
    readiness: GatewayReadiness,
    clock: Clock,
    metrics: PrometheusMetrics,
    limits: RequestLimits,
    authenticator: Authenticator,
) -> GatewayDependencies:
    return GatewayDependencies(
        manager=services.manager,
        records=services.records,
        scheduling=services.schedules,
        dead_letters=operators.dead_letters,
        destinations=operators.destinations,
        auditor=operators.auditor,
        readiness=readiness,
        clock=clock,
        observe_request=HttpMetrics(metrics.registry).observe,
        render_metrics=metrics.render,
        new_trace_id=lambda: current_trace_id() or secrets.token_hex(16),
        version=package_version(),
        limits=limits,
        authenticator=authenticator,
    )


def openapi_text() -> str:
    """Return the HTTP contract as YAML. It is the same for every configuration."""
    clock, metrics = SystemClock(), PrometheusMetrics(())
    queues, ledger, rules = Queues(by_name={}, public={}, pauses={}), NoLedger(clock), EnqueueRules()
    services = build_shared_services(queues, ledger, rules, clock=clock, metrics=metrics)
    operators = build_operator_services(queues, ledger, services, rules, own_names=(), clock=clock, metrics=metrics)
    parts = _parts(
        services, operators, GatewayReadiness({}, clock=clock), clock, metrics, RequestLimits(), Authenticator()
    )
    return openapi_yaml(create_app(parts))


async def run_gateway(settings: Settings, keys: Sequence[ApiKey] | None, reread: KeyReader) -> None:
    """Serve until SIGTERM or SIGINT; then answer what has come in, within the grace period.

    Who comes in has one of ``keys``; SIGHUP changes them to what ``reread`` returns. ``None`` lets everybody in.

    Raises:
        QueueError: a queue backend cannot be opened.
        OSError: the address cannot be bound.

    """
    start_logging(settings)
    max_connections = allow_connections()
    if keys is None:
        logger.warning("no API key is asked for: whoever reaches %s may do everything", settings.gateway.host)
    authenticator = Authenticator(
        keys, guards_service=settings.gateway.metrics_auth, local=settings.gateway.auth == "keys"
    )
    async with (
        tracing("mcp-queue-gateway", environment(), SystemClock()) as traced,
        gateway_parts(settings, authenticator, traced.tracer) as parts,
    ):
        apart = settings.gateway.metrics_port is not None
        app = traced.of_requests(create_app(parts, with_service=not apart))
        freeze_startup_objects()
        parts.readiness.started = True
        signals = Signals()
        # uvicorn raises the signal once more when it has drained: heard here, it does not end the process by itself.
        with signals.heard(), reloading_keys(authenticator, reread):
            async with serving_metrics_port(create_service_app(parts) if apart else None, settings):
                await Server(app, settings, parts.readiness, max_connections).serve_until(signals.stop)
