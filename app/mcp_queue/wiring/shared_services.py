"""Builds the services that gateway and consumer share, with or without a ledger."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mcp_queue.adapters.cron import next_tick
from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.adapters.ledger.engine.migrate import migrate
from mcp_queue.adapters.ledger.ledger import Ledger, open_ledger
from mcp_queue.config.settings import LedgerSettings, Settings
from mcp_queue.ports import Clock, LedgerMetrics, Metrics, Tracer
from mcp_queue.services.dead_letters.in_ledger import counting
from mcp_queue.services.dead_letters.topology import DeadLetterTopology
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.enqueueing.submission import LedgerSubmission, Submission
from mcp_queue.services.operators.retention import Retention, pruning
from mcp_queue.services.operators.task_records import TaskRecords
from mcp_queue.services.periodic import PeriodicJob
from mcp_queue.services.queues.manager import QueueManager
from mcp_queue.services.queues.purges import Purges, purge_times, watch_purges
from mcp_queue.services.queues.stats import CountDeadLetters, only_queued
from mcp_queue.services.schedules.promotion import Promoter
from mcp_queue.services.schedules.schedules import Schedules, run_what_is_due
from mcp_queue.services.tracing import NO_TRACER
from mcp_queue.wiring.process import make_directory, make_private_file
from mcp_queue.wiring.queues import Queues

#: The configured ledger, or what stands in for it.
AnyLedger: TypeAlias = Ledger | NoLedger


@contextlib.asynccontextmanager
async def opened_ledger(settings: Settings, clock: Clock, metrics: LedgerMetrics) -> AsyncIterator[AnyLedger]:
    """Open the configured ledger."""
    if settings.ledger.url is None:
        yield NoLedger(clock)
        return
    _make_ledger_file(settings.ledger.url, settings.data_dir)
    async with open_ledger(settings.ledger.url, clock=clock, metrics=metrics) as ledger:
        yield ledger


async def migrate_ledger(settings: Settings) -> None:
    """Bring the tables of the configured ledger up to date.

    Raises:
        LedgerSchemaError: they are newer than this version of the program.
        LedgerUnavailableError: the database does not answer, or refuses.

    """
    if settings.ledger.url is not None:
        _make_ledger_file(settings.ledger.url, settings.data_dir)
        await migrate(settings.ledger.url)


def _make_ledger_file(url: str, data_dir: Path) -> None:
    make_directory(data_dir, "QUEUE_DATA_DIR")
    scheme, _, path = url.partition(":///")
    if scheme.startswith("sqlite") and (file := path.partition("?")[0]) not in {"", ":memory:"}:
        make_private_file(Path(file), "LEDGER_URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedServices:
    """The services that both processes have around their queues."""

    manager: QueueManager
    records: TaskRecords
    schedules: Schedules
    purges: Purges
    topology: DeadLetterTopology

    async def dead_letters_waiting(self, queue: str) -> int | None:
        """Return how many dead letters of ``queue`` wait for a person."""
        return (await self.manager.stats(queue)).dead_letters


def build_shared_services(
    queues: Queues,
    ledger: AnyLedger,
    rules: EnqueueRules,
    *,
    clock: Clock,
    metrics: Metrics,
    tracer: Tracer = NO_TRACER,
) -> SharedServices:
    """Put the services together around ``queues`` and ``ledger``."""
    purges = Purges(purge_times(queues.public), ledger.queues, clock)
    topology = DeadLetterTopology(queues.public, queues.by_name)
    if isinstance(ledger, NoLedger):
        submission: Submission = Submission(metrics)
        count_dead_letters: CountDeadLetters = only_queued
    else:
        submission = LedgerSubmission(ledger.tasks, ledger.claims, ledger.held, clock=clock, metrics=metrics)
        count_dead_letters = counting(ledger.dead_letters, topology)
    manager = QueueManager(
        queues.public,
        pauses={**dict.fromkeys(queues.public, ledger.queues), **queues.pauses},
        rules=rules,
        clock=clock,
        metrics=metrics,
        random_bits=secrets.randbits,
        submission=submission,
        purges=purges,
        store=ledger.tasks,
        dead_letters=count_dead_letters,
        tracer=tracer,
    )
    return SharedServices(
        manager=manager,
        records=TaskRecords(ledger.tasks, queues.public),
        schedules=Schedules(ledger.schedules, manager, next_tick=next_tick, clock=clock),
        purges=purges,
        topology=topology,
    )


def ledger_jobs(
    settings: LedgerSettings,
    services: SharedServices,
    queues: Queues,
    ledger: AnyLedger,
    *,
    clock: Clock,
    metrics: Metrics,
) -> Sequence[PeriodicJob]:
    """Return what the processes that share a ledger do for it, each of them."""
    if isinstance(ledger, NoLedger):
        return ()
    promoter = Promoter(
        ledger.held, ledger.dead_letters, queues.public, clock=clock, metrics=metrics, closed=services.purges.closed
    )
    retention = Retention(
        ledger.tasks, clock=clock, ended=settings.retention, dead_letters=settings.dead_letter_retention
    )
    return (
        *([watch_purges(services.purges)] if purge_times(queues.public) else []),
        run_what_is_due(ledger.held, services.schedules, promoter.promote),
        pruning(retention),
    )
