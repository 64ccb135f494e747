"""The configuration as the rest of the product uses it: every default resolved, every value of its final type."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from mcp_queue.config.schema.document import Consumer, Embeddings, Gateway, Logs
from mcp_queue.config.schema.queue_sections import Workers
from mcp_queue.domain.callbacks.addresses import EgressPolicy
from mcp_queue.domain.callbacks.destinations import LimitRule
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.domain.execution.routing import Route
from mcp_queue.domain.queues import QueueSpec

_CALLBACK_TIMEOUT = timedelta(seconds=30)
_SHARE_OF_LEASE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """What tasks get that name no ``max_retries``, and how long retries wait."""

    max_retries: int
    backoff: ExponentialBackoff


@dataclass(frozen=True, slots=True, kw_only=True)
class SqsSettings:
    """How SQS is reached. What is ``None`` is found by AWS's own chain.

    ``kms_key`` and ``tags`` are for queues that are created; without a key SQS uses its own.
    """

    region: str | None
    endpoint_url: str | None
    wait_time: timedelta
    kms_key: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSettings:
    """Calls to URLs that clients and routes name. ``timeout`` is ``None`` where it follows the queue's lease."""

    timeout: timedelta | None
    secrets: tuple[str, ...] = field(repr=False)
    egress: EgressPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """The database that remembers tasks; ``url`` is ``None`` where there is none.

    A ``dead_letter_retention`` of ``None`` keeps dead letters for ever.
    """

    url: str | None = field(repr=False)
    retention: timedelta
    dead_letter_retention: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifierSettings:
    """Who is told of dead letters, and how; the outbox knows a notifier by its name."""

    name: str
    type: Literal["log", "webhook", "slack"]
    url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting as it counts, for people: secrets are hidden. ``origin`` is a variable, ``file`` or ``default``."""

    key: str
    variable: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that is configured. ``warnings`` are lines about what is allowed but probably not meant."""

    queues: tuple[QueueSpec, ...]
    dead_letter_queues: frozenset[str]
    routes: tuple[Route, ...]
    destinations: tuple[LimitRule, ...]
    notifiers: tuple[NotifierSettings, ...]
    workers: Workers
    retry: RetrySettings
    sqs: SqsSettings
    gateway: Gateway
    consumer: Consumer
    callbacks: CallbackSettings
    embeddings: Embeddings
    ledger: LedgerSettings
    logs: Logs
    data_dir: Path
    handlers: tuple[str, ...]
    shutdown_grace: timedelta
    shared_metrics: Path | None
    warnings: tuple[str, ...] = ()
    effective: tuple[Effective, ...] = field(default=(), repr=False)

    def callback_timeout(self, queue: QueueSpec) -> timedelta:
        """Return the time limit of callbacks for tasks of ``queue``: it ends before one lease does."""
        return self.callbacks.timeout or min(_CALLBACK_TIMEOUT, queue.visibility_timeout * _SHARE_OF_LEASE)
