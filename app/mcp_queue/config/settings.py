"""The settings as the product uses them, with every default resolved and every value of its final type."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from mcp_queue.config.schema.document import ConsumerSection, EmbeddingsSection, GatewaySection, LogsSection
from mcp_queue.config.schema.queue_sections import WorkersSection
from mcp_queue.domain.callbacks.addresses import EgressPolicy
from mcp_queue.domain.callbacks.destinations import LimitRule
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.domain.execution.routing import Route
from mcp_queue.domain.queues import QueueSpec

_CALLBACK_TIMEOUT = timedelta(seconds=30)
_SHARE_OF_LEASE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """The ``max_retries`` of tasks that set none, and the backoff of retries."""

    max_retries: int
    backoff: ExponentialBackoff


@dataclass(frozen=True, slots=True, kw_only=True)
class SqsSettings:
    """How SQS is reached. AWS's own chain fills in what is ``None``.

    ``kms_key`` and ``tags`` are for queues that are created; without a key, SQS uses its own.
    """

    region: str | None
    endpoint_url: str | None
    wait_time: timedelta
    kms_key: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSettings:
    """How callbacks are made. ``timeout`` is ``None`` if it follows the queue's lease."""

    timeout: timedelta | None
    secrets: tuple[str, ...] = field(repr=False)
    egress: EgressPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """The ledger's database; ``url`` is ``None`` without a ledger.

    With a ``dead_letter_retention`` of ``None``, dead letters are kept forever.
    """

    url: str | None = field(repr=False)
    retention: timedelta
    dead_letter_retention: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifierSettings:
    """A receiver of notifications about dead letters; the outbox stores its name."""

    name: str
    type: Literal["log", "webhook", "slack"]
    url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """The effective value of a setting, with secrets hidden. ``origin`` is a variable, ``file`` or ``default``."""

    key: str
    variable: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration. ``warnings`` are lines about settings that are probably not meant."""

    queues: tuple[QueueSpec, ...]
    dead_letter_queues: frozenset[str]
    routes: tuple[Route, ...]
    destinations: tuple[LimitRule, ...]
    notifiers: tuple[NotifierSettings, ...]
    workers: WorkersSection
    retry: RetrySettings
    sqs: SqsSettings
    gateway: GatewaySection
    consumer: ConsumerSection
    callbacks: CallbackSettings
    embeddings: EmbeddingsSection
    ledger: LedgerSettings
    logs: LogsSection
    data_dir: Path
    handlers: tuple[str, ...]
    shutdown_grace: timedelta
    shared_metrics: Path | None
    warnings: tuple[str, ...] = ()
    effective: tuple[EffectiveSetting, ...] = field(default=(), repr=False)

    def callback_timeout(self, queue: QueueSpec) -> timedelta:
        """Return the time limit of callbacks for tasks of ``queue``: it ends before one lease does."""
        return self.callbacks.timeout or min(_CALLBACK_TIMEOUT, queue.visibility_timeout * _SHARE_OF_LEASE)
