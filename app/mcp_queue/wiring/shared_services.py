"""Opens the ledger, and what the two processes do for it."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from mcp_queue.adapters.cron import next_tick
from mcp_queue.adapters.ledger.engine.migrate import migrate
from mcp_queue.adapters.ledger.ledger import Ledger, open_ledger
from mcp_queue.config.settings import Settings
from mcp_queue.domain.queues import Backend
from mcp_queue.ports import Clock, LedgerMetrics, Metrics, Tracer
from mcp_queue.services.dead_letters.in_ledger import counting
from mcp_queue.services.dead_letters.topology import DeadLetterTopology
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.enqueueing.submission import EnqueueLedger, Submission
from mcp_queue.services.operators.retention import Retention, pruning
from mcp_queue.services.operators.task_records import TaskRecords
from mcp_queue.services.periodic import Job
from mcp_queue.services.queues.manager import QueueManager
from mcp_queue.services.queues.purges import Purges, watch_purges
from mcp_queue.services.schedules.promotion import Promoter
from mcp_queue.services.schedules.schedules import Schedules, minding_the_time
from mcp_queue.services.tracing import NO_TRACER
from mcp_queue.wiring.process import make_directory
from mcp_queue.wiring.queues import Queues


@contextlib.asynccontextmanager
async def opened_ledger(settings: Settings, clock: Clock, metrics: LedgerMetrics) -> AsyncIterator[Ledger | None]:
    """Open the configured ledger; yield ``None`` where there is none."""
    if settings.ledger.url is None:
        yield None
        return
    make_directory(settings.data_dir, "QUEUE_DATA_DIR")
    async with open_ledger(settings.ledger.url, clock=clock, metrics=metrics) as ledger:
        yield ledger


async def migrate_ledger(settings: Settings) -> None:
    """Bring the tables of the configured ledger up to date.

    Raises:
        LedgerSchemaError: they are newer than this version of the program.
        LedgerUnavailableError: the database does not answer, or refuses.

    """
    if settings.ledger.url is not None:
        make_directory(settings.data_dir, "QUEUE_DATA_DIR")
        await migrate(settings.ledger.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedServices:
    """What both processes share around the queues: the door to them, and the jobs that either may do."""

    manager: QueueManager
    records: TaskRecords
    scheduling: Schedules
    purges: Purges
    sources: DeadLetterTopology
    jobs: tuple[Job, ...]

    async def dead_letters_waiting(self, queue: str) -> int | None:
        """Return how many dead letters of ``queue`` wait for a person."""
        return (await self.manager.stats(queue)).dead_letters


def build_shared_services(
    settings: Settings,
    queues: Queues,
    ledger: Ledger | None,
    rules: EnqueueRules,
    *,
    clock: Clock,
    metrics: Metrics,
    tracer: Tracer = NO_TRACER,
) -> SharedServices:
    """Put the manager together, with or without a ledger."""
    on_sqs = {spec.public_name for spec in settings.queues if spec.backend is Backend.SQS}
    purges = Purges(on_sqs, None if ledger is None else ledger.queues, clock)
    doors = None if ledger is None else EnqueueLedger(tasks=ledger.tasks, claims=ledger.claims, held=ledger.held)
    pauses = {} if ledger is None else dict.fromkeys(queues.public, ledger.queues)
    sources = DeadLetterTopology(queues.public, queues.by_name)
    manager = QueueManager(
        queues.public,
        pauses={**pauses, **queues.pauses},
        rules=rules,
        clock=clock,
        metrics=metrics,
        random_bits=secrets.randbits,
        submission=Submission(doors, clock=clock, metrics=metrics),
        purges=purges,
        store=None if ledger is None else ledger.tasks,
        stored_dead_letters=None if ledger is None else counting(ledger.dead_letters, sources),
        tracer=tracer,
    )
    scheduling = Schedules(None if ledger is None else ledger.schedules, manager, next_tick=next_tick, clock=clock)
    jobs: tuple[Job, ...] = ()
    if ledger is not None:
        promoter = Promoter(
            ledger.held, ledger.dead_letters, queues.public, clock=clock, metrics=metrics, closed=purges.closed
        )
        jobs = (
            *([watch_purges(purges)] if on_sqs else []),
            minding_the_time(ledger.held, scheduling, promoter.promote),
            pruning(_retention(settings, ledger, clock)),
        )
    return SharedServices(
        manager=manager,
        records=TaskRecords(None if ledger is None else ledger.tasks, queues.public),
        scheduling=scheduling,
        purges=purges,
        sources=sources,
        jobs=jobs,
    )


def closed_core(clock: Clock, metrics: Metrics) -> SharedServices:
    """Return a core that knows no queue, for whoever only describes the routes."""
    purges = Purges((), None, clock)
    manager = QueueManager(
        {},
        pauses={},
        rules=EnqueueRules(),
        clock=clock,
        metrics=metrics,
        random_bits=secrets.randbits,
        submission=Submission(None, clock=clock, metrics=metrics),
        purges=purges,
    )
    return SharedServices(
        manager=manager,
        records=TaskRecords(None, {}),
        scheduling=Schedules(None, manager, next_tick=next_tick, clock=clock),
        purges=purges,
        sources=DeadLetterTopology({}, {}),
        jobs=(),
    )


def _retention(settings: Settings, ledger: Ledger, clock: Clock) -> Retention:
    return Retention(
        ledger.tasks,
        clock=clock,
        ended=settings.ledger.retention,
        dead_letters=settings.ledger.dead_letter_retention,
    )
