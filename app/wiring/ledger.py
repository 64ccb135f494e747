"""Opens the ledger, and what the two processes do for it."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from app.adapters.ledger.ledger import Ledger, open_ledger
from app.config.settings import Settings
from app.domain.queues import Backend
from app.ports import Clock, LedgerMetrics, Metrics
from app.services.enqueueing import EnqueueRules
from app.services.jobs import Job
from app.services.promotion import Promoter, promoting
from app.services.purges import Purges, watch_purges
from app.services.queue_manager import QueueManager
from app.services.retention import Retention, pruning
from app.services.submission import EnqueueLedger, Submission
from app.wiring.queues import Queues


@contextlib.asynccontextmanager
async def opened_ledger(settings: Settings, clock: Clock, metrics: LedgerMetrics) -> AsyncIterator[Ledger | None]:
    """Open the configured ledger; yield ``None`` where there is none."""
    if settings.ledger.url is None:
        yield None
        return
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    async with open_ledger(settings.ledger.url, clock=clock, metrics=metrics) as ledger:
        yield ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What both processes share around the queues: the door to them, and the jobs that either may do."""

    manager: QueueManager
    purges: Purges
    jobs: tuple[Job, ...]


def make_core(
    settings: Settings, queues: Queues, ledger: Ledger | None, rules: EnqueueRules, *, clock: Clock, metrics: Metrics
) -> Core:
    """Put the manager together, with or without a ledger."""
    on_sqs = {spec.public_name for spec in settings.queues if spec.backend is Backend.SQS}
    purges = Purges(on_sqs, None if ledger is None else ledger.queues, clock)
    doors = None if ledger is None else EnqueueLedger(tasks=ledger.tasks, claims=ledger.claims, held=ledger.held)
    pauses = {} if ledger is None else dict.fromkeys(queues.public, ledger.queues)
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
    )
    jobs = () if ledger is None else _ledger_jobs(settings, queues, ledger, purges, clock=clock, metrics=metrics)
    return Core(manager=manager, purges=purges, jobs=jobs)


def _ledger_jobs(
    settings: Settings, queues: Queues, ledger: Ledger, purges: Purges, *, clock: Clock, metrics: Metrics
) -> tuple[Job, ...]:
    promoter = Promoter(
        ledger.held, ledger.dead_letters, queues.public, clock=clock, metrics=metrics, closed=purges.closed
    )
    retention = Retention(
        ledger.tasks,
        clock=clock,
        ended=settings.ledger.retention,
        dead_letters=settings.ledger.dead_letter_retention,
    )
    return (watch_purges(purges), promoting(promoter), pruning(retention))
