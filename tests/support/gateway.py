"""The gateway over queues in memory, and the keys that it lets in."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from fastapi import FastAPI

from mcp_queue.adapters.cron import next_tick
from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.domain.callbacks.addresses import EgressPolicy
from mcp_queue.domain.enqueueing.payloads import common_payloads
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.operators.keys import ApiKey, Caller, KeyScope, digest_of
from mcp_queue.domain.operators.rates import RateLimit
from mcp_queue.domain.queues import QueueKind, QueueSpec
from mcp_queue.gateway.application import create_app
from mcp_queue.gateway.dependencies import GatewayDependencies, RequestLimits
from mcp_queue.gateway.resources.service.readiness import GatewayReadiness
from mcp_queue.gateway.server.auth import Authenticator
from mcp_queue.ports import AuditLog, PauseSwitch
from mcp_queue.services.dead_letters.in_ledger import LedgerDeadLetters, counting
from mcp_queue.services.dead_letters.in_queue import QueueDeadLetters
from mcp_queue.services.dead_letters.interface import DeadLetters
from mcp_queue.services.dead_letters.redrive import Redriver, RedriveSender
from mcp_queue.services.dead_letters.topology import DeadLetterTopology
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.enqueueing.submission import Submission
from mcp_queue.services.operators.audit import Auditor
from mcp_queue.services.operators.destinations import DestinationSwitches
from mcp_queue.services.operators.task_records import TaskRecords
from mcp_queue.services.queues.manager import QueueManager
from mcp_queue.services.queues.priority import PriorityQueue, ProducerQueue
from mcp_queue.services.queues.purges import Purges
from mcp_queue.services.queues.stats import only_queued
from mcp_queue.services.schedules.schedules import Schedules
from mcp_queue.telemetry.http_metrics import HttpMetrics
from mcp_queue.telemetry.metrics import PrometheusMetrics
from mcp_queue.testing import FakeClock, InMemoryQueue
from mcp_queue.testing.pauses import InMemoryPauseSwitch
from tests.support.clock import START
from tests.support.ledger import LedgerHarness, submission_with
from tests.support.tasks import make_spec

TRACE_ID = "0123456789abcdef0123456789abcdef"


def api_key(
    secret: str,
    *scopes: KeyScope,
    name: str = "ci",
    queues: set[str] | None = None,
    expires_at: datetime | None = None,
    rate_limit: RateLimit | None = None,
) -> ApiKey:
    """Return the key whose secret is ``secret``."""
    return ApiKey(
        caller=Caller(name, frozenset(scopes), None if queues is None else frozenset(queues)),
        digest=digest_of(secret.encode()),
        expires_at=expires_at,
        rate_limit=rate_limit,
    )


def bearer(secret: str) -> dict[str, str]:
    """Return the header that shows ``secret``."""
    return {"Authorization": f"Bearer {secret}"}


@dataclass
class GatewayKit:
    """A gateway and what it is made of.

    Queues: ``tasks`` (standard) and ``orders`` (FIFO), both with the dead-letter queue ``dlq``; ``work`` (priority,
    levels 0 and 3) without one. With a ``harness`` its ledger remembers tasks, on the harness's clock.
    """

    limits: RequestLimits = field(default_factory=RequestLimits)
    authenticator: Authenticator = field(default_factory=Authenticator)
    max_depth: int | None = None
    max_task_bytes: int = 1024 * 1024
    extra: Mapping[str, ProducerQueue] = field(default_factory=dict)
    audit: AuditLog | None = None
    harness: LedgerHarness | None = None

    def __post_init__(self) -> None:
        """Build it."""
        self.clock = FakeClock(START) if self.harness is None else self.harness.clock
        self.serializer = JsonTaskSerializer()
        self.metrics = PrometheusMetrics(common_payloads())
        self.registry = self.metrics.registry
        self.observe_request = HttpMetrics(self.registry).observe
        self.pauses = InMemoryPauseSwitch()
        self.dlq = self.memory(make_spec("dlq"))
        self.tasks = self.memory(
            make_spec(dead_letter_queue="dlq", max_depth=self.max_depth, max_task_bytes=self.max_task_bytes), self.dlq
        )
        self.orders = self.memory(make_spec("orders", QueueKind.FIFO, dead_letter_queue="dlq"), self.dlq)
        self.levels = {level: self.memory(make_spec(f"work-p{level}", public_name="work")) for level in (0, 3)}
        self.queues: dict[str, ProducerQueue] = {
            "tasks": self.tasks,
            "orders": self.orders,
            "work": PriorityQueue(
                make_spec("work", QueueKind.PRIORITY, levels={0: "work-p0", 3: "work-p3"}), self.levels
            ),
            "dlq": self.dlq,
            **self.extra,
        }
        ledger = self.ledger = NoLedger(self.clock) if self.harness is None else self.harness.ledger
        switches: dict[str, PauseSwitch] = dict.fromkeys(self.queues, NoLedger(self.clock).queues)
        switches |= {"tasks": self.pauses, "orders": self.pauses}
        numbers = count(1)
        rules = EnqueueRules(payload_models=common_payloads(), egress=EgressPolicy())
        purges, sources = Purges({}, ledger.queues, self.clock), DeadLetterTopology(self.queues, {"dlq": self.dlq})
        self.manager = QueueManager(
            self.queues,
            pauses=switches,
            rules=rules,
            clock=self.clock,
            metrics=self.metrics,
            random_bits=lambda _: next(numbers),
            submission=Submission(self.metrics)
            if isinstance(ledger, NoLedger)
            else submission_with(ledger, self.clock, self.metrics),
            purges=purges,
            store=ledger.tasks,
            dead_letters=only_queued if isinstance(ledger, NoLedger) else counting(ledger.dead_letters, sources),
        )
        self.records = TaskRecords(ledger.tasks, self.queues)
        self.scheduling = Schedules(ledger.schedules, self.manager, next_tick=next_tick, clock=self.clock)
        self.dead_letters = self._dead_letters(
            sources, RedriveSender(purges=purges, metrics=self.metrics), rules, lambda _: next(numbers)
        )
        self.readiness = GatewayReadiness(self.manager.task_queues(), clock=self.clock, time_limit=timedelta(seconds=1))
        self.readiness.started = True
        self.app: FastAPI = create_app(self.dependencies())

    def memory(self, spec: QueueSpec, dead_letters: InMemoryQueue | None = None) -> InMemoryQueue:
        """Return a queue in memory on the kit's clock."""
        return InMemoryQueue(spec, clock=self.clock, serializer=self.serializer, dead_letters=dead_letters)

    def _dead_letters(
        self, sources: DeadLetterTopology, sender: RedriveSender, rules: EnqueueRules, random_bits: Callable[[int], int]
    ) -> DeadLetters:
        if self.harness is None:
            return QueueDeadLetters(
                sources, {}, {}, sender, depth=self._dead_letters_waiting, rules=rules, clock=self.clock
            )
        ledger = self.harness.ledger
        return LedgerDeadLetters(
            ledger.dead_letters,
            ledger.redrives,
            ledger.tasks,
            sources,
            Redriver(ledger.dead_letters, sources, sender),
            depth=self._dead_letters_waiting,
            rules=rules,
            clock=self.clock,
            random_bits=random_bits,
            wake=lambda: None,
        )

    async def _dead_letters_waiting(self, queue: str) -> int | None:
        return (await self.manager.stats(queue)).dead_letters

    def dependencies(self) -> GatewayDependencies:
        """Return what the gateway needs."""
        return GatewayDependencies(
            manager=self.manager,
            records=self.records,
            scheduling=self.scheduling,
            dead_letters=self.dead_letters,
            auditor=Auditor(self.audit or self.ledger.audit, self.clock),
            destinations=DestinationSwitches(self.ledger.destinations, {"billing"}, self.clock),
            readiness=self.readiness,
            clock=self.clock,
            observe_request=self.observe_request,
            render_metrics=self.metrics.render,
            new_trace_id=lambda: TRACE_ID,
            version="1.2.3",
            limits=self.limits,
            authenticator=self.authenticator,
        )


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and description of every operation of an OpenAPI document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation
