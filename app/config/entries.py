"""The elements of the file's lists, and the kinds of values that they share with other sections."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from app.config.knobs import Section
from app.config.values import AsDuration, AsNumber, Headers, HttpUrl, SigningSecret, SqsQueue, text_of
from app.domain.destinations import canonical_name
from app.domain.queues import FailurePolicy, LevelPolicy, QueueKind

MAX_SQS_BYTES = 1024 * 1024
LONGEST_ATTEMPT = timedelta(hours=11, minutes=55)
SECOND = timedelta(seconds=1)
_Name = Annotated[str, text_of(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", "a name of letters, digits, '.', '_' and '-'")]
_TaskType = Annotated[str, text_of(r"[A-Za-z0-9._:-]{1,128}", "a task type of letters, digits, '.', '_', ':' and '-'")]
_Group = Annotated[str, text_of(r"[!-~]{1,128}", "1 to 128 visible ASCII characters")]
_Bucket = Annotated[str, text_of(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of an S3 bucket")]
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
    type: QueueKind | None = None
    url: SqsQueue | None = None
    visibility_timeout: Lease | None = None
    max_receive_count: Receives | None = None
    dead_letter_queue: str | None = None
    max_retries: Retries | None = None
    max_depth: Annotated[int, Field(ge=1), AsNumber] | None = None
    max_task_bytes: TaskBytes | None = None
    message_group_id: _Group | None = None
    failure_policy: FailurePolicy | None = None
    levels: Mapping[Annotated[int, Field(ge=0, le=3), AsNumber], str] | None = None
    level_policy: LevelPolicy | None = None
    payload_bucket: _Bucket | None = None
    cloudwatch_age: bool | None = None


class RouteEntry(Section):
    """A task type that is delivered to a URL."""

    type: _TaskType
    callback_url: HttpUrl
    name: _Name | None = None
    timeout: CallbackTimeout | None = None
    headers: Headers = Field(default_factory=dict)
    secrets: tuple[SigningSecret, ...] | None = None


class DestinationEntry(Section):
    """Limits of the destination ``name``, a route's own name or a URL, or of each destination at ``host``."""

    name: Annotated[str, AfterValidator(_destination)] | None = None
    host: Host | None = None
    max_concurrent: Annotated[int, Field(ge=1, le=10_000), AsNumber] | None = None
    max_per_second: Annotated[float, Field(ge=0.001, le=10_000), AsNumber] | None = None
