"""Builds the consumer, and runs it until a signal arrives."""

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from mcp_queue.adapters.callbacks.embeddings import OpenAIEmbeddings
from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.config import environment
from mcp_queue.config.settings import Settings
from mcp_queue.consumer.background import share_destinations, watch_cancels, watch_depths, watch_pauses
from mcp_queue.consumer.call_limits import DestinationRegistry
from mcp_queue.consumer.dead_letter_processor import DeadLetterProcessor
from mcp_queue.consumer.deferrals import Deferrals
from mcp_queue.consumer.health import ConsumerReadiness, HealthApp
from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.consumer.receiver import Receiver
from mcp_queue.consumer.visibility import VisibilityExtender
from mcp_queue.consumer.worker_pool import WorkerPool
from mcp_queue.domain.errors import QueueSetupError
from mcp_queue.domain.execution.retry import RetryPolicy
from mcp_queue.domain.queues import Backend
from mcp_queue.ports import CallbackSender, Clock, EmbeddingClient, ExecutionLog, Metrics, PauseSwitch, Queue, Tracer
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.execution.admission import Admitter
from mcp_queue.services.execution.attempt_memory import OutageProofLog
from mcp_queue.services.execution.attempts import AttemptRunner, Dispatcher
from mcp_queue.services.execution.callbacks import CallbackTimeouts
from mcp_queue.services.execution.dispatch import TaskDispatcher
from mcp_queue.services.execution.router import TaskRouter
from mcp_queue.services.execution.settlement import Settlement
from mcp_queue.services.periodic import PeriodicJob, running
from mcp_queue.services.queues.priority import PriorityQueue
from mcp_queue.services.queues.purges import Purges
from mcp_queue.telemetry.metrics import PrometheusMetrics
from mcp_queue.telemetry.tracing import Tracing, tracing
from mcp_queue.wiring.dead_letters import tending_dead_letters
from mcp_queue.wiring.handlers import known_destinations, known_payloads, known_types, load_router
from mcp_queue.wiring.leftovers import warn_of_leftovers
from mcp_queue.wiring.ports import allow_connections, serving_port
from mcp_queue.wiring.process import Signals, exit_immediately, freeze_startup_objects, start_logging
from mcp_queue.wiring.queues import EMBEDDED_WAIT, Queues, open_queues
from mcp_queue.wiring.shared_services import (
    AnyLedger,
    SharedServices,
    build_shared_services,
    ledger_jobs,
    opened_ledger,
)

logger = logging.getLogger(__name__)

#: Short beside the shortest lease, and long enough for four tasks at 20/s.
DELETE_LINGER: Final = timedelta(milliseconds=200)


async def run_consumer(settings: Settings) -> None:
    """Consume until SIGTERM or SIGINT; then drain within the grace period. A second signal stops at once.

    Raises:
        QueueError: a queue backend cannot be opened, or a handler cannot be loaded.
        OSError: the address of health and metrics cannot be bound.

    """
    start_logging(settings)
    allow_connections()
    clock, signals = SystemClock(), Signals()
    router = load_router(settings.handlers)
    metrics = PrometheusMetrics(known_types(settings, router), known_destinations(settings))
    async with (
        contextlib.AsyncExitStack() as until_all_is_closed,
        tracing("mcp-queue-consumer", environment(), clock) as traced,
        open_queues(settings, clock, metrics, delete_linger=_delete_linger(settings)) as queues,
        opened_ledger(settings, clock, metrics) as ledger,
        _dispatcher(settings, router, traced, clock, metrics) as dispatcher,
    ):
        rules = EnqueueRules(payload_models=known_payloads(router), egress=settings.callbacks.egress)
        services = build_shared_services(queues, ledger, rules, clock=clock, metrics=metrics)
        polled = _polled_queues(settings, queues)
        destinations = DestinationRegistry(clock=clock, metrics=metrics, rules=settings.destinations)
        deferrals = Deferrals(clock=clock, random=random.random, registry=destinations, locate=dispatcher.target)
        log = _execution_log(ledger)
        purges, tracer = services.purges, traced.tracer
        pool, extender = _pool(settings, polled, clock, metrics, log, dispatcher, deferrals, tracer, purges)
        readiness = ConsumerReadiness(pool.polled, list(queues.by_name.values()), clock, failing=pool.failing)
        name = f"{socket.gethostname()}:{os.getpid()}"
        jobs = [
            *_jobs(pool, queues, services, ledger),
            share_destinations(destinations, ledger.destinations, consumer=name, clock=clock),
            *ledger_jobs(settings.ledger, services, queues, ledger, clock=clock, metrics=metrics),
        ]
        if not isinstance(ledger, NoLedger):
            readiness.ledger_ok = lambda: ledger.healthy
        # A second signal must not cut short what the ledger still has to write.
        until_all_is_closed.enter_context(signals.heard())
        async with (
            serving_port(HealthApp(readiness, metrics.render), settings.consumer.host, settings.consumer.port),
            extender.running(pool.lose),
            running(jobs, clock),
            _dead_letter_processors(settings, queues, ledger, clock, signals.hurry) as dead_letter_processors,
            tending_dead_letters(settings, ledger, services, clock=clock, metrics=metrics),
        ):
            warn_of_leftovers(settings)
            freeze_startup_objects()
            pool.start()
            readiness.started = True
            logger.info("consuming from %s", ", ".join(polled.queue.spec.name for polled in pool.polled))
            await signals.stop.wait()
            readiness.draining = True
            for processor in dead_letter_processors:
                processor.stop()
            await pool.drain(settings.shutdown_grace, signals.hurry)
            logger.info("drained")
    if pool.left_behind:
        logger.warning("%d handlers do not let themselves be cancelled: they end with the process", pool.left_behind)
        exit_immediately()


def _execution_log(ledger: AnyLedger) -> ExecutionLog:
    return ledger.executions if isinstance(ledger, NoLedger) else OutageProofLog(ledger.executions)


def _delete_linger(settings: Settings) -> timedelta:
    """Return how long a delete may wait for company: without a ledger, a message that is left behind runs again."""
    return timedelta(0) if settings.ledger.url is None else DELETE_LINGER


def _jobs(pool: WorkerPool, queues: Queues, services: SharedServices, ledger: AnyLedger) -> list[PeriodicJob]:
    switches: set[PauseSwitch] = {ledger.queues, *queues.pauses.values()}
    return [
        watch_pauses(pool, switches),
        watch_depths(queues.public.keys(), services.manager.stats),
        watch_cancels(pool, ledger.tasks),
    ]


@contextlib.asynccontextmanager
async def _dead_letter_processors(
    settings: Settings, queues: Queues, ledger: AnyLedger, clock: Clock, hurry: asyncio.Event
) -> AsyncIterator[list[DeadLetterProcessor]]:
    """Move dead letters into the ledger while the context is open; without one they stay in their queues."""
    if isinstance(ledger, NoLedger):
        yield []
        return
    processors = []
    async with contextlib.AsyncExitStack() as stack:
        for name in settings.dead_letter_queues:
            processor = DeadLetterProcessor(
                queues.by_name[name],
                sources={spec.public_name for spec in settings.queues if spec.dead_letter_queue == name},
                store=ledger.dead_letters,
                clock=clock,
                random=random.random,
                wait=_wait(settings, queues.by_name[name]),
            )
            await stack.enter_async_context(processor.running(hurry))
            processors.append(processor)
        yield processors


@contextlib.asynccontextmanager
async def _dispatcher(
    settings: Settings, router: TaskRouter, traced: Tracing, clock: Clock, metrics: Metrics
) -> AsyncIterator[TaskDispatcher]:
    timeouts = CallbackTimeouts({spec.public_name: settings.callback_timeout(spec) for spec in settings.queues})
    async with (
        AiohttpCallbackSender(settings.callbacks.egress, clock, metrics, secrets=settings.callbacks.secrets) as http,
        OpenAIEmbeddings(settings.embeddings.base_url, _revealed(settings), clock) as embeddings,
    ):
        sender = traced.of_callbacks(http)
        services: dict[type, object] = {
            CallbackSender: sender,
            CallbackTimeouts: timeouts,
            EmbeddingClient: embeddings,
            Clock: clock,
        }
        try:
            router.check(services)
        except ValueError as error:
            message = f"QUEUE_HANDLERS: {error}"
            raise QueueSetupError(message) from error
        yield TaskDispatcher(router=router, services=services, routes=settings.routes, sender=sender, timeouts=timeouts)


def _revealed(settings: Settings) -> str | None:
    key = settings.embeddings.api_key
    return None if key is None else key.get_secret_value()


def _polled_queues(settings: Settings, queues: Queues) -> list[PolledQueue]:
    """Return what is polled: every queue but dead-letter queues, and the levels of priority queues one by one."""
    polled = []
    for name, queue in queues.public.items():
        if name in settings.dead_letter_queues:
            continue
        if isinstance(queue, PriorityQueue):
            policy = queue.spec.level_policy
            polled += [PolledQueue(leaf, _wait(settings, leaf), level, policy) for level, leaf in queue.levels.items()]
        else:
            polled.append(PolledQueue(queues.by_name[name], _wait(settings, queues.by_name[name])))
    return polled


def _wait(settings: Settings, queue: Queue) -> timedelta:
    return settings.sqs.wait_time if queue.spec.backend is Backend.SQS else EMBEDDED_WAIT


def _pool(  # noqa: PLR0917  # one call, and each argument of a type of its own
    settings: Settings,
    polled: list[PolledQueue],
    clock: Clock,
    metrics: Metrics,
    log: ExecutionLog,
    dispatcher: Dispatcher,
    deferrals: Deferrals,
    tracer: Tracer,
    purges: Purges,
) -> tuple[WorkerPool, VisibilityExtender]:
    extender = VisibilityExtender(clock, metrics)
    settlement = Settlement(
        clock=clock,
        random=random.random,
        metrics=metrics,
        log=log,
        policy=RetryPolicy(settings.retry.backoff),
        withdrawn=purges.withdrew,
    )
    pool = WorkerPool(
        polled,
        slots=settings.workers.count,
        batch_size=settings.workers.batch_size,
        clock=clock,
        receiver=Receiver(clock=clock, random=random.random, metrics=metrics, extender=extender, tracer=tracer),
        admitter=Admitter(clock=clock, log=log),
        runner=AttemptRunner(
            clock=clock,
            metrics=metrics,
            dispatcher=dispatcher,
            settlement=settlement,
            log=log,
            processing_timeout=settings.workers.processing_timeout,
            executed=deferrals.executed,
            tracer=tracer,
        ),
        settlement=settlement,
        extender=extender,
        deferrals=deferrals,
    )
    return pool, extender
