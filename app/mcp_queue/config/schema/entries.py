"""Declares the elements of the file's lists, and the types that they share with other sections."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from mcp_queue.config.declaration import Section
from mcp_queue.config.schema.values import (
    AsDuration,
    AsNumber,
    AsWords,
    Headers,
    HttpUrl,
    SigningSecret,
    SqsQueue,
    text_of,
)
from mcp_queue.domain.callbacks.destinations import canonical_name
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.domain.queues import FailurePolicy, LevelPolicy, QueueKind

_KEY_HASH = re.compile(r"sha256:[0-9a-f]{64}")


def _key_hash(value: str) -> str:
    if _KEY_HASH.fullmatch(value) is None:
        # What was written is not shown: it may be the key itself.
        raise ValueError("expected the hash that mcp-queue keys create prints, which begins with sha256:")
    return value


def _not_empty(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("expected at least one")
    return value


MAX_SQS_BYTES = 1024 * 1024
LONGEST_ATTEMPT = timedelta(hours=11, minutes=55)
SECOND = timedelta(seconds=1)
_Name = Annotated[str, text_of(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", "a name of letters, digits, '.', '_' and '-'")]
_TaskType = Annotated[str, text_of(r"[A-Za-z0-9._:-]{1,128}", "a task type of letters, digits, '.', '_', ':' and '-'")]
_Group = Annotated[str, text_of(r"[!-~]{1,128}", "1 to 128 visible ASCII characters")]
_Bucket = Annotated[str, text_of(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of an S3 bucket")]
_KeyHash = Annotated[str, AfterValidator(_key_hash)]
Host = Annotated[str, text_of(r"(\*\.)?[A-Za-z0-9_.:-]{1,253}", "a host such as example.com or *.example.com")]
Lease = Annotated[timedelta, Field(ge=SECOND, le=timedelta(hours=12)), AsDuration]
Receives = Annotated[int, Field(ge=1, le=1000), AsNumber]
Retries = Annotated[int, Field(ge=0, le=100), AsNumber]
TaskBytes = Annotated[int, Field(ge=1024, le=256 * 1024 * 1024), AsNumber]
CallbackTimeout = Annotated[timedelta, Field(ge=timedelta(milliseconds=100), le=LONGEST_ATTEMPT), AsDuration]


def _destination(value: str) -> str:
    name = canonical_name(value)
    if name is None:
        message = f"{value!r} is no http or https URL"
        raise ValueError(message)
    return name


class QueueEntry(Section):
    """A queue. What it leaves out takes the defaults of the settings beside the list."""

    name: _Name
    """Name by which clients know it."""
    type: QueueKind | None = None
    """`standard`, `fifo` or `priority`; without it, what the name of the SQS queue says."""
    url: SqsQueue | None = None
    """Its SQS URL, ARN or name; without it the queue is embedded."""
    visibility_timeout: Lease | None = None
    """How long one lease lasts, and the time limit of an attempt that names none."""
    max_receive_count: Receives | None = None
    """Crashes of its process after which a task is dead-lettered; without a ledger, receives without an end."""
    dead_letter_queue: str | None = None
    """Queue for what cannot succeed; `dlq` where one of that name is configured."""
    max_retries: Retries | None = None
    """Retries of tasks that name none."""
    max_depth: Annotated[int, Field(ge=1), AsNumber] | None = None
    """Most messages that an embedded queue holds; further ones are answered 429."""
    max_task_bytes: TaskBytes | None = None
    """Largest task; over 1 MiB on embedded queues, or with a `payload_bucket`."""
    message_group_id: _Group | None = None
    """Group of FIFO tasks that name none."""
    failure_policy: FailurePolicy | None = None
    """FIFO: `block` holds the group while its head is retried; `skip` dead-letters the head at its first failure."""
    levels: Mapping[Annotated[int, Field(ge=0, le=3), AsNumber], str] | None = None
    """Priority queues: the queue of each priority, 3 to 0. Priorities without one go to 0."""
    level_policy: LevelPolicy | None = None
    """Priority queues: `strict`, or `weighted` so that no level starves."""
    payload_bucket: _Bucket | None = None
    """SQS: S3 bucket for tasks over the size limit."""
    cloudwatch_age: bool | None = None
    """SQS: ask CloudWatch for the age of the oldest message."""


class RouteEntry(Section):
    """A task type that is delivered to a URL."""

    type: _TaskType
    """Task type."""
    callback_url: HttpUrl
    """Where its tasks are delivered."""
    name: _Name | None = None
    """Name of the destination; without it scheme, host and port."""
    timeout: CallbackTimeout | None = None
    """Time limit of one call."""
    headers: Headers = Field(default_factory=dict)
    """Headers that every call carries."""
    secrets: tuple[SigningSecret, ...] | None = None
    """Signing secrets in place of `CALLBACK_SECRETS`."""


class DestinationEntry(Section):
    """Limits of the destination ``name``, a route's own name or a URL, or of each destination at ``host``."""

    name: Annotated[str, AfterValidator(_destination)] | None = None
    """A route's own name, or a URL."""
    host: Host | None = None
    """Host in place of a name; `*.example.com` is every name below."""
    max_concurrent: Annotated[int, Field(ge=1, le=10_000), AsNumber] | None = None
    """Calls under way at the same time, per consumer."""
    max_per_second: Annotated[float, Field(ge=0.001, le=10_000), AsNumber] | None = None
    """Calls a second, per consumer."""


class NotifierEntry(Section):
    """Who is told of dead letters: failures of one queue and type within a minute are told together."""

    type: Literal["log", "webhook", "slack"]
    """`log` writes a line, `webhook` posts JSON, `slack` posts a message as Slack's incoming webhooks take it."""
    name: _Name | None = None
    """Name in logs and metrics; the type without one."""
    url: HttpUrl | None = None
    """Where it posts; any address, private ones too."""
    headers: Headers = Field(default_factory=dict)
    """Headers of a webhook."""


class KeyEntry(Section):
    """An API key, as `mcp-queue keys create` writes it."""

    name: _Name
    """Who acts, for the audit log. Keys that replace each other share it."""
    hash: _KeyHash
    """What is stored of the key."""
    scopes: Annotated[tuple[KeyScope, ...], AfterValidator(_not_empty), AsWords]
    """`enqueue`, `read`, `payloads`, `operate`, `admin`."""
    queues: Annotated[tuple[str, ...], AfterValidator(_not_empty), AsWords] | None = None
    """The only queues that it reaches."""
    expires_at: AwareDatetime | None = None
    """When it stops to count (RFC 3339)."""
    max_per_second: Annotated[float, Field(ge=0.001, le=1_000_000), AsNumber] | None = None
    """Requests a second, per gateway process; further ones are answered 429."""
    burst: Annotated[int, Field(ge=1, le=1_000_000), AsNumber] | None = None
    """Requests that may come at once; `max_per_second`, rounded up, where absent."""
