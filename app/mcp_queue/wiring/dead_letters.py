"""Builds the services of operators, and what the two processes do about dead letters."""

import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.adapters.notifiers import LogNotifier, SlackNotifier, WebhookNotifier
from mcp_queue.config.settings import NotifierSettings, Settings
from mcp_queue.domain.callbacks.addresses import ANYWHERE
from mcp_queue.ports import CallbackSender, Clock, DeadLetterMetrics, Notifier
from mcp_queue.services.dead_letters.in_ledger import LedgerDeadLetters, watch_ages
from mcp_queue.services.dead_letters.in_queue import QueueDeadLetters
from mcp_queue.services.dead_letters.interface import DeadLetters
from mcp_queue.services.dead_letters.notifications import NotificationSender, notifying
from mcp_queue.services.dead_letters.redrive import Redriver, RedriveSender
from mcp_queue.services.dead_letters.redrive_runner import RedriveRunner
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.operators.audit import Auditor
from mcp_queue.services.operators.destinations import DestinationSwitches
from mcp_queue.services.periodic import running
from mcp_queue.wiring.queues import Queues
from mcp_queue.wiring.shared_services import AnyLedger, SharedServices


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorServices:
    """What operators use. Redrives of the ledger go on while the context ``redriving`` is open."""

    dead_letters: DeadLetters
    destinations: DestinationSwitches
    auditor: Auditor
    redriving: AbstractAsyncContextManager[None] = field(default_factory=contextlib.nullcontext)


def build_operator_services(
    queues: Queues,
    ledger: AnyLedger,
    services: SharedServices,
    rules: EnqueueRules,
    *,
    own_names: Collection[str],
    clock: Clock,
    metrics: DeadLetterMetrics,
) -> OperatorServices:
    """Put the services of operators together; ``own_names`` are the destinations that routes have named."""
    destinations = DestinationSwitches(ledger.destinations, own_names, clock)
    auditor = Auditor(ledger.audit, clock)
    sender = RedriveSender(purges=services.purges, metrics=metrics)
    depth = services.dead_letters_waiting
    if isinstance(ledger, NoLedger):
        in_queue = QueueDeadLetters(
            services.topology, queues.movers, queues.browsers, sender, depth=depth, rules=rules, clock=clock
        )
        return OperatorServices(dead_letters=in_queue, destinations=destinations, auditor=auditor)
    redriver = Redriver(ledger.dead_letters, services.topology, sender)
    runner = RedriveRunner(ledger.redrives, redriver, clock=clock, random=random.random)
    in_ledger = LedgerDeadLetters(
        ledger.dead_letters,
        ledger.redrives,
        ledger.tasks,
        services.topology,
        redriver,
        depth=depth,
        rules=rules,
        clock=clock,
        random_bits=secrets.randbits,
        wake=runner.wake,
    )
    return OperatorServices(
        dead_letters=in_ledger, destinations=destinations, auditor=auditor, redriving=runner.running()
    )


@contextlib.asynccontextmanager
async def tending_dead_letters(
    settings: Settings, ledger: AnyLedger, services: SharedServices, *, clock: Clock, metrics: DeadLetterMetrics
) -> AsyncIterator[None]:
    """Carry redrives on, notify people of dead letters and measure how old they are while the context is open."""
    if isinstance(ledger, NoLedger):
        yield
        return
    redriver = Redriver(ledger.dead_letters, services.topology, RedriveSender(purges=services.purges, metrics=metrics))
    runner = RedriveRunner(ledger.redrives, redriver, clock=clock, random=random.random)
    async with AiohttpCallbackSender(ANYWHERE, clock, Uncounted()) as sender, runner.running():
        notifiers = {notifier.name: _notifier(notifier, sender) for notifier in settings.notifiers}
        service = NotificationSender(ledger.notices, notifiers, clock=clock, random=random.random, metrics=metrics)
        ages = watch_ages(ledger.dead_letters, services.topology, metrics, clock)
        async with running([notifying(service), ages], clock):
            yield


def _notifier(settings: NotifierSettings, sender: CallbackSender) -> Notifier:
    if settings.url is None:
        return LogNotifier()
    if settings.type == "slack":
        return SlackNotifier(sender, settings.url)
    return WebhookNotifier(sender, settings.url, settings.headers)


class Uncounted:
    """Counts no callbacks: what notifiers post has a metric of its own."""

    def callback(self, outcome: str) -> None:
        """Count nothing."""
