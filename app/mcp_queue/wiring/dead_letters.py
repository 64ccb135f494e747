"""What the two processes do about dead letters."""

import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from ipaddress import ip_network

from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.adapters.notifiers import LogNotifier, SlackNotifier, WebhookNotifier
from mcp_queue.config.settings import NotifierSettings, Settings
from mcp_queue.domain.addresses import EgressPolicy
from mcp_queue.ports import CallbackSender, Clock, DeadLetterMetrics, Notifier
from mcp_queue.services.auditing import Auditor
from mcp_queue.services.dead_letters import DeadLetters
from mcp_queue.services.destinations import DestinationSwitches
from mcp_queue.services.enqueueing import EnqueueRules
from mcp_queue.services.jobs import running
from mcp_queue.services.notifying import Notifying, notifying
from mcp_queue.services.purges import Purges
from mcp_queue.services.redrive_jobs import RedriveRunner
from mcp_queue.services.redriving import Redriver, Sender
from mcp_queue.services.sources import Sources
from mcp_queue.services.stored_dead_letters import StoredDeadLetters, watch_ages
from mcp_queue.services.unstored_dead_letters import UnstoredDeadLetters
from mcp_queue.wiring.ledger import Core
from mcp_queue.wiring.queues import Queues

#: Whom the operator names may be anywhere.
ANYWHERE = EgressPolicy(allowed_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What operators do is done here."""

    letters: DeadLetters
    destinations: DestinationSwitches
    auditor: Auditor


@contextlib.asynccontextmanager
async def open_desk(
    queues: Queues,
    ledger: Ledger | None,
    core: Core,
    rules: EnqueueRules,
    *,
    own_names: Collection[str],
    clock: Clock,
    metrics: DeadLetterMetrics,
) -> AsyncIterator[Desk]:
    """Show dead letters and destinations, and carry redrives on while the context is open.

    ``own_names`` are the destinations that routes have named.
    """
    sender = Sender(purges=core.purges, metrics=metrics)
    if ledger is None:
        unstored = UnstoredDeadLetters(
            core.sources, queues.movers, sender, depth=core.letters_waiting, rules=rules, clock=clock
        )
        yield Desk(
            letters=unstored,
            destinations=DestinationSwitches(None, own_names, clock),
            auditor=Auditor(None, clock),
        )
        return
    redriver = Redriver(ledger.dead_letters, sender)
    runner = RedriveRunner(
        ledger.redrives, ledger.dead_letters, redriver, core.sources, clock=clock, random=random.random
    )
    stored = StoredDeadLetters(
        ledger.dead_letters,
        ledger.redrives,
        ledger.tasks,
        core.sources,
        redriver,
        depth=core.letters_waiting,
        rules=rules,
        clock=clock,
        random_bits=secrets.randbits,
        wake=runner.wake,
    )
    async with runner.running():
        yield Desk(
            letters=stored,
            destinations=DestinationSwitches(ledger.destinations, own_names, clock),
            auditor=Auditor(ledger.audit, clock),
        )


def closed_desk(purges: Purges, clock: Clock, metrics: DeadLetterMetrics) -> Desk:
    """Return a desk that knows no queue, for whoever only describes the routes."""

    async def unknown(_: str) -> None:
        return None

    sender = Sender(purges=purges, metrics=metrics)
    letters = UnstoredDeadLetters(Sources({}, {}), {}, sender, depth=unknown, rules=EnqueueRules(), clock=clock)
    return Desk(letters=letters, destinations=DestinationSwitches(None, (), clock), auditor=Auditor(None, clock))


@contextlib.asynccontextmanager
async def tending_letters(
    settings: Settings, ledger: Ledger | None, core: Core, *, clock: Clock, metrics: DeadLetterMetrics
) -> AsyncIterator[None]:
    """Carry redrives on, tell people of dead letters and measure how old they are while the context is open."""
    if ledger is None:
        yield
        return
    letters = ledger.dead_letters
    redriver = Redriver(letters, Sender(purges=core.purges, metrics=metrics))
    runner = RedriveRunner(ledger.redrives, letters, redriver, core.sources, clock=clock, random=random.random)
    async with AiohttpCallbackSender(ANYWHERE, clock, Uncounted()) as sender, runner.running():
        notifiers = {notifier.name: _notifier(notifier, sender) for notifier in settings.notifiers}
        telling = Notifying(ledger.notices, notifiers, clock=clock, random=random.random, metrics=metrics)
        async with running([notifying(telling), watch_ages(letters, core.sources, metrics, clock)], clock):
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
