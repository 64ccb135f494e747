"""Defines and reads a request to enqueue a task."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from mcp_queue.domain.errors import FieldError
from mcp_queue.domain.formats.durations import DURATION_PATTERN, in_seconds, parse_duration
from mcp_queue.domain.formats.serialization import parse_time
from mcp_queue.domain.task import RESERVED_METADATA, JsonValue
from mcp_queue.services.enqueueing.validation import MAX_NAME, Location, invalid, validated

#: How far ahead a task may be scheduled.
HORIZON = timedelta(days=365)
MAX_METADATA = 64
MIN_TIMEOUT = timedelta(seconds=1)
#: Five minutes below the 12 hours that a message may be held, for receiving and settling it.
MAX_TIMEOUT = timedelta(hours=11, minutes=55)
_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")


def _time(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    text = value.upper() if isinstance(value, str) else ""
    try:
        # Python reads more forms of a time than RFC 3339 has, such as week dates.
        if _RFC3339.fullmatch(text):
            return parse_time(text)
    except ValueError:
        pass
    message = "expected an RFC 3339 time with its offset, such as 2026-01-31T12:00:00Z"
    raise ValueError(message)


def _duration(value: object) -> timedelta:
    return value if isinstance(value, timedelta) else parse_duration(value)


def _timeout(value: timedelta) -> timedelta:
    if not MIN_TIMEOUT <= value <= MAX_TIMEOUT:
        message = "expected 1 second to 11 hours 55 minutes"
        raise ValueError(message)
    return value


def _metadata(value: object) -> dict[str, str]:
    # By hand, since pydantic reports every wrong member, and there may be a million of them.
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        message = "expected an object of strings"
        raise ValueError(message)
    if len(value) > MAX_METADATA:
        message = f"expected at most {MAX_METADATA} members, not {len(value)}"
        raise ValueError(message)
    reserved = sorted(RESERVED_METADATA & value.keys())
    if reserved:
        message = f"the name {reserved[0]!r} is reserved for dead letters"
        raise ValueError(message)
    return value


def _duration_schema(least: timedelta, most: timedelta) -> WithJsonSchema:
    """Return the schema of a duration; that of a text cannot tell its bounds."""
    number = {"type": "number", "minimum": in_seconds(least), "maximum": in_seconds(most)}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "minLength": 1, "pattern": DURATION_PATTERN}]})


_METADATA_SCHEMA = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "maxProperties": MAX_METADATA,
    "propertyNames": {"not": {"enum": sorted(RESERVED_METADATA)}},
}
Delay = Annotated[timedelta, BeforeValidator(_duration), _duration_schema(timedelta(0), HORIZON)]
Timeout = Annotated[
    timedelta, BeforeValidator(_duration), AfterValidator(_timeout), _duration_schema(MIN_TIMEOUT, MAX_TIMEOUT)
]
Time = Annotated[datetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]
Metadata = Annotated[dict[str, Any], BeforeValidator(_metadata), WithJsonSchema(_METADATA_SCHEMA)]
TypeName = Annotated[str, Field(min_length=1, max_length=128, pattern="^[A-Za-z0-9._:-]+$")]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Url = Annotated[str, Field(max_length=2048), WithJsonSchema({"type": "string", "format": "uri", "maxLength": 2048})]
IdempotencyKey = Annotated[str, Field(min_length=1, max_length=255, pattern="^[!-~]+$")]


class NewTask(BaseModel):
    """A task to enqueue."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: Annotated[TypeName, Field(description="Selects the handler or the route.")]
    payload: Annotated[
        Any,  # JSON already: checking it member by member would cost as much as parsing it
        Field(description="Any JSON, checked against the payload model of the type where there is one."),
    ] = None
    priority: Annotated[int, Field(ge=0, le=3, description="Level on a priority queue, an attribute elsewhere.")] = 0
    metadata: Metadata = Field(default_factory=dict, description="Carried along.")
    delay: Annotated[
        Delay | None, Field(description='Wait before the task may start: seconds, or a text such as `"5m"`.')
    ] = None
    scheduled_for: Annotated[Time | None, Field(description="When the task may start, instead of `delay`.")] = None
    expires_at: Annotated[Time | None, Field(description="The task does not start after this.")] = None
    max_retries: Annotated[
        int | None, Field(ge=0, le=100, description="Retries after the first attempt. Default: the queue's.")
    ] = None
    visibility_timeout: Annotated[
        Timeout | None, Field(description="Time limit of one attempt, 1 s to 11 h 55 min. Default: the queue's.")
    ] = None
    callback_url: Annotated[Url | None, Field(description="http(s) URL to deliver to, instead of a handler.")] = None
    group: Annotated[Name | None, Field(description="FIFO ordering group; the tenant on a standard queue.")] = None
    deduplication_id: Annotated[
        Name | None, Field(description="FIFO only: of two tasks within 5 minutes the second is dropped.")
    ] = None


class BatchTask(NewTask):
    """A task of a batch."""

    idempotency_key: Annotated[IdempotencyKey | None, Field(description="Stands in for the header of that name.")] = (
        None
    )


AnyNewTask = TypeVar("AnyNewTask", bound=NewTask)


def read_new_task(value: JsonValue, model: type[AnyNewTask], loc: Location = ("body",)) -> AnyNewTask:
    """Return the JSON ``value``, which stands at ``loc`` of the request, as a task to enqueue.

    Raises:
        InvalidTaskError: it is none.

    """
    if not isinstance(value, dict):
        raise invalid(FieldError(loc, "expected an object"))
    if len(value) > len(model.model_fields):
        unknown = next(name for name in value if name not in model.model_fields)
        raise invalid(FieldError((*loc, unknown[:MAX_NAME]), "there is no such member"))
    return validated(model, value, loc)
