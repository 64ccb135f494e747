"""Writes tasks as message bodies, and reads them back."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, cast

from mcp_queue.domain.errors import InvalidTaskError, MalformedJsonError
from mcp_queue.domain.formats.durations import in_seconds
from mcp_queue.domain.formats.strict_json import dumps_compactly, loads
from mcp_queue.domain.task import JsonValue, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFacts:
    """Facts about a message beside its body; they fill in the members that a foreign body omits."""

    message_id: str
    queue: str
    sent_at: datetime
    max_retries: int
    group: str | None = None
    traceparent: str | None = None


class TaskSerializer(Protocol):
    """Writes tasks as message bodies and reads them back."""

    def dumps(self, task: Task) -> str:
        """Return the body of ``task``'s message, in characters that every backend accepts."""
        ...

    def loads(self, body: str, facts: MessageFacts) -> Task:
        """Read a body, also one of a foreign producer.

        Raises:
            InvalidTaskError: the body is not a task.

        """
        ...


class JsonTaskSerializer:
    """JSON with the members of the task; members without a value are left out."""

    def dumps(self, task: Task) -> str:
        """Return one JSON object; members that this version does not know follow at its end."""
        members: dict[str, object] = {
            "id": task.id,
            "type": task.type,
            "priority": task.priority,
            "payload": task.payload,
            "metadata": task.metadata,
            "created_at": format_time(task.created_at),
            "max_retries": task.max_retries,
            "retry_count": task.retry_count,
            "queue": task.queue,
        }
        if task.visibility_timeout is not None:
            members["visibility_timeout"] = in_seconds(task.visibility_timeout)
        if task.scheduled_for is not None:
            members["scheduled_for"] = format_time(task.scheduled_for)
        if task.expires_at is not None:
            members["expires_at"] = format_time(task.expires_at)
        if task.callback_url is not None:
            members["callback_url"] = task.callback_url
        if task.group is not None:
            members["group"] = task.group
        if task.deduplication_id is not None:
            members["deduplication_id"] = task.deduplication_id
        if task.redrive_count:
            members["redrive_count"] = task.redrive_count
        if task.extra:
            members.update(task.extra)
        return dumps_compactly(members)

    def loads(self, body: str, facts: MessageFacts) -> Task:
        """Read one JSON object; of a foreign one only ``type`` is required."""
        try:
            value = loads(body)
        except MalformedJsonError as error:
            message = f"the body is not JSON: {error}"
            raise InvalidTaskError(message) from error
        if not isinstance(value, dict):
            message = "the body is not a JSON object"
            raise InvalidTaskError(message)
        return _Reader(value).task(facts)


class _Reader:
    """Takes the known members out of a JSON object; the remaining ones are ``extra``."""

    def __init__(self, members: dict[str, JsonValue]) -> None:
        self._members = members

    def task(self, facts: MessageFacts) -> Task:
        kind = self._text("type")
        if not kind:
            message = "the body has no member 'type'"
            raise InvalidTaskError(message)
        timeout = self._number("visibility_timeout")
        return Task(
            id=self._text("id") or facts.message_id,
            type=kind,
            queue=self._text("queue") or facts.queue,
            created_at=self._time("created_at") or facts.sent_at,
            payload=self._members.pop("payload", None),
            priority=self._count("priority", 0),
            metadata=self._metadata(),
            scheduled_for=self._time("scheduled_for"),
            expires_at=self._time("expires_at"),
            max_retries=self._count("max_retries", facts.max_retries),
            retry_count=self._count("retry_count", 0),
            redrive_count=self._count("redrive_count", 0),
            visibility_timeout=None if timeout is None else _duration(timeout),
            callback_url=self._text("callback_url"),
            group=self._text("group") or facts.group,
            deduplication_id=self._text("deduplication_id"),
            extra=self._members,
            traceparent=facts.traceparent,
        )

    def _text(self, name: str) -> str | None:
        value = self._members.pop(name, None)
        if value is not None and not isinstance(value, str):
            raise _wrong(name, "a string")
        return value

    def _number(self, name: str) -> float | None:
        value = self._members.pop(name, None)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _wrong(name, "a number")
        return cast("float | None", value)

    def _count(self, name: str, default: int) -> int:
        value = self._members.pop(name, None)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
            raise _wrong(name, f"an integer from 0 to {_MAX_COUNT}")
        return value

    def _time(self, name: str) -> datetime | None:
        value = self._text(name)
        if value is None:
            return None
        try:
            return parse_time(value)
        except ValueError as error:
            raise _wrong(name, "an RFC 3339 time") from error

    def _metadata(self) -> dict[str, str]:
        value = self._members.pop("metadata", None)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise _wrong("metadata", "an object of strings")
        return cast("dict[str, str]", value)


# No real counter is larger; the limit also keeps counters inside every database's integer.
_MAX_COUNT = 1_000_000


def _wrong(name: str, expected: str) -> InvalidTaskError:
    return InvalidTaskError(f"the body's member {name!r} is not {expected}")


def _duration(seconds: float) -> timedelta:
    try:
        value = timedelta(seconds=seconds)
    except OverflowError as error:
        raise _wrong("visibility_timeout", "a number of seconds") from error
    if value <= timedelta(0):
        raise _wrong("visibility_timeout", "a positive number of seconds")
    return value


def format_time(value: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with microseconds, ``2026-01-31T12:00:00.000000Z``."""
    # isoformat is several times faster than strftime, which does not pad early years either.
    return value.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time.

    Raises:
        ValueError: the text is not a time, has no offset from UTC, or is outside the years 1 to 9999.

    """
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        message = f"{text!r} has no offset from UTC"
        raise ValueError(message)
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        message = f"{text!r} lies outside the calendar"
        raise ValueError(message) from error
