"""What the two processes do about dead letters."""

import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.adapters.ledger.ledger import Ledger
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
from mcp_queue.services.dead_letters.topology import DeadLetterTopology
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.operators.audit import Auditor
from mcp_queue.services.operators.destinations import DestinationSwitches
from mcp_queue.services.periodic import running
from mcp_queue.services.queues.purges import Purges
from mcp_queue.wiring.queues import Queues
from mcp_queue.wiring.shared_services import SharedServices


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorServices:
    """What operators do is done here."""

    dead_letters: DeadLetters
    destinations: DestinationSwitches
    auditor: Auditor


@contextlib.asynccontextmanager
async def open_operator_services(
    queues: Queues,
    ledger: Ledger | None,
    core: SharedServices,
    rules: EnqueueRules,
    *,
    own_names: Collection[str],
    clock: Clock,
    metrics: DeadLetterMetrics,
) -> AsyncIterator[OperatorServices]:
    """Show dead letters and destinations, and carry redrives on while the context is open.

    ``own_names`` are the destinations that routes have named.
    """
    sender = RedriveSender(purges=core.purges, metrics=metrics)
    if ledger is None:
        unstored = QueueDeadLetters(
            core.sources, queues.movers, sender, depth=core.dead_letters_waiting, rules=rules, clock=clock
        )
        yield OperatorServices(
            dead_letters=unstored,
            destinations=DestinationSwitches(None, own_names, clock),
            auditor=Auditor(None, clock),
        )
        return
    redriver = Redriver(ledger.dead_letters, sender)
    runner = RedriveRunner(
        ledger.redrives, ledger.dead_letters, redriver, core.sources, clock=clock, random=random.random
    )
    stored = LedgerDeadLetters(
        ledger.dead_letters,
        ledger.redrives,
        ledger.tasks,
        core.sources,
        redriver,
        depth=core.dead_letters_waiting,
        rules=rules,
        clock=clock,
        random_bits=secrets.randbits,
        wake=runner.wake,
    )
    async with runner.running():
        yield OperatorServices(
            dead_letters=stored,
            destinations=DestinationSwitches(ledger.destinations, own_names, clock),
            auditor=Auditor(ledger.audit, clock),
        )


def closed_operator_services(purges: Purges, clock: Clock, metrics: DeadLetterMetrics) -> OperatorServices:
    """Return a desk that knows no queue, for whoever only describes the routes."""

    async def unknown(_: str) -> None:
        return None

    sender = RedriveSender(purges=purges, metrics=metrics)
    dead_letters = QueueDeadLetters(
        DeadLetterTopology({}, {}), {}, sender, depth=unknown, rules=EnqueueRules(), clock=clock
    )
    return OperatorServices(
        dead_letters=dead_letters, destinations=DestinationSwitches(None, (), clock), auditor=Auditor(None, clock)
    )


@contextlib.asynccontextmanager
async def tending_dead_letters(
    settings: Settings, ledger: Ledger | None, core: SharedServices, *, clock: Clock, metrics: DeadLetterMetrics
) -> AsyncIterator[None]:
    """Carry redrives on, tell people of dead letters and measure how old they are while the context is open."""
    if ledger is None:
        yield
        return
    dead_letters = ledger.dead_letters
    redriver = Redriver(dead_letters, RedriveSender(purges=core.purges, metrics=metrics))
    runner = RedriveRunner(ledger.redrives, dead_letters, redriver, core.sources, clock=clock, random=random.random)
    async with AiohttpCallbackSender(ANYWHERE, clock, Uncounted()) as sender, runner.running():
        notifiers = {notifier.name: _notifier(notifier, sender) for notifier in settings.notifiers}
        telling = NotificationSender(ledger.notices, notifiers, clock=clock, random=random.random, metrics=metrics)
        async with running([notifying(telling), watch_ages(dead_letters, core.sources, metrics, clock)], clock):
            yield


def _notifier(settings: NotifierSettings, sender: CallbackSender) -> Notifier:
    if settings.url is None:
        return LogNotifier()
    if settings.type == "slack":
        return SlackNotifier(sender, settings.url)
    return WebhookNotifier(sender, settings.url, settings.headers)


class Uncounted:
    """What notifiers post is no callback, and has a metric of its own."""

    def callback(self, outcome: str) -> None:
        """Count nothing."""
