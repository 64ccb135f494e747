"""Declares the file's section ``queue``: the queues, the workers, retries, routes and notifiers."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from mcp_queue.config.declaration import EnvVar, Section
from mcp_queue.config.schema.entries import (
    LONGEST_ATTEMPT,
    SECOND,
    DestinationEntry,
    Lease,
    NotifierEntry,
    QueueEntry,
    Receives,
    RouteEntry,
)
from mcp_queue.config.schema.values import AsDuration, AsNumber, AsWords, HttpUrl, text_of

_Module = Annotated[str, text_of(r"[^\W\d]\w*(\.[^\W\d]\w*)*", "a module such as package.handlers")]


class SqsSection(Section):
    """The queues, and the defaults that they share."""

    region: Annotated[
        str | None,
        EnvVar(
            "AWS_REGION", "AWS region of the queues.", default="by AWS's own chain", aliases=("AWS_DEFAULT_REGION",)
        ),
    ] = None
    endpoint_url: Annotated[
        HttpUrl | None,
        EnvVar(
            "AWS_ENDPOINT_URL_SQS",
            "Address of another SQS, such as LocalStack's.",
            default="AWS",
            aliases=("AWS_ENDPOINT_URL",),
        ),
    ] = None
    visibility_timeout: Annotated[
        Lease,
        EnvVar(
            "SQS_VISIBILITY_TIMEOUT",
            "How long a received message stays hidden from other consumers. It is extended while its task runs.",
            "duration",
        ),
    ] = timedelta(seconds=300)
    max_receive_count: Annotated[
        Receives | None,
        EnvVar(
            "SQS_MAX_RECEIVE_COUNT",
            "Crashes of its process after which a task is dead-lettered; without a ledger, receives without an end.",
            default="3; 100 on FIFO queues, where every wait is a receive",
        ),
    ] = None
    wait_time_seconds: Annotated[
        timedelta,
        Field(ge=SECOND, le=timedelta(seconds=20)),
        AsDuration,
        EnvVar("SQS_WAIT_TIME_SECONDS", "How long a receive waits for messages.", "duration"),
    ] = timedelta(seconds=20)
    kms_key: Annotated[
        str | None,
        Field(min_length=1),
        EnvVar(
            "SQS_KMS_KEY",
            "Id, ARN or alias of the KMS key that mcp-queue queues apply encrypts queues with.",
            default="keys that SQS owns",
        ),
    ] = None
    tags: dict[str, str] = Field(default_factory=dict)
    queues: tuple[QueueEntry, ...] | None = None


class WorkersSection(Section):
    """How many tasks a consumer runs, and for how long."""

    count: Annotated[
        int,
        Field(ge=1, le=10_000),
        AsNumber,
        EnvVar("QUEUE_WORKER_COUNT", "Tasks that one consumer runs at the same time, over all queues."),
    ] = 10
    batch_size: Annotated[
        int,
        Field(ge=1, le=10),
        AsNumber,
        EnvVar("QUEUE_BATCH_SIZE", "Messages that one receive asks for at most."),
    ] = 10
    processing_timeout: Annotated[
        timedelta,
        Field(ge=SECOND, le=LONGEST_ATTEMPT),
        AsDuration,
        EnvVar(
            "QUEUE_PROCESSING_TIMEOUT",
            "Time limit of one attempt whose task names no visibility_timeout of its own.",
            "duration",
        ),
    ] = timedelta(minutes=5)


class BackoffSection(Section):
    """How long a retry waits."""

    type: Literal["exponential"] = "exponential"
    base_delay: Annotated[
        timedelta,
        Field(le=timedelta(days=1)),
        AsDuration,
        EnvVar("QUEUE_RETRY_BASE_DELAY", "Longest wait before the first retry.", "duration"),
    ] = SECOND
    max_delay: Annotated[
        timedelta,
        Field(le=timedelta(days=7)),
        AsDuration,
        EnvVar("QUEUE_RETRY_MAX_DELAY", "Longest wait before any retry.", "duration"),
    ] = timedelta(minutes=5)
    factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    jitter: bool = True


def _retries(section: Mapping[str, Any]) -> int:
    return 3 if section["max_attempts"] is None else int(section["max_attempts"]) - 1


class RetrySection(Section):
    """How often a task is tried. ``max_attempts`` includes the first attempt, ``max_retries`` does not."""

    max_attempts: Annotated[int, Field(ge=1, le=101), AsNumber] | None = None
    max_retries: Annotated[
        int,
        Field(ge=0, le=100),
        AsNumber,
        EnvVar(
            "QUEUE_MAX_RETRIES",
            "Retries after the first attempt, of tasks that name none. "
            "The file may say max_attempts instead, which counts the first one too.",
            default="3",
            follows="max_attempts",
        ),
    ] = Field(default_factory=_retries)
    backoff: BackoffSection = BackoffSection()


class QueueSection(Section):
    """The queues, and how their tasks are executed."""

    data_dir: Annotated[
        str, Field(min_length=1), EnvVar("QUEUE_DATA_DIR", "Directory of the embedded queue and of the default ledger.")
    ] = "./var"
    handlers: Annotated[
        tuple[_Module, ...],
        AsWords,
        EnvVar("QUEUE_HANDLERS", "Python modules with handlers of your own, beside the built-in ones.", "list"),
    ] = ()
    shutdown_grace: Annotated[
        timedelta,
        Field(le=timedelta(hours=1)),
        AsDuration,
        EnvVar("SHUTDOWN_GRACE", "How long running work may take to finish after SIGTERM.", "duration"),
    ] = timedelta(seconds=30)
    sqs: SqsSection = SqsSection()
    workers: WorkersSection = WorkersSection()
    retry: RetrySection = RetrySection()
    routes: tuple[RouteEntry, ...] = ()
    destinations: tuple[DestinationEntry, ...] = ()
    notifiers: tuple[NotifierEntry, ...] = (NotifierEntry(type="log"),)
