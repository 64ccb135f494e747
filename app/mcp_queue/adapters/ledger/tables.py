"""The tables of the ledger. The migrations make them; a test holds the two together.

Times are microseconds since 1970, durations seconds: both databases compare and index numbers alike.
"""

import json
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    and_,
    false,
    text,
)
from sqlalchemy.engine import Dialect

from mcp_queue.adapters.ledger.engine.bulk import clean
from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.domain.task import JsonValue
from mcp_queue.domain.task_states import microseconds, moment

#: The newest migration, which this version of the program works with.
SCHEMA_VERSION = "0002"


class CleanText(TypeDecorator[str]):
    """A text, without the characters that PostgreSQL stores in none."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # the base class names it
        """Return the text without them: a search for one then finds nothing, instead of failing."""
        return clean(value)


class TimeType(TypeDecorator[datetime]):
    """A time, aware and in UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002  # the base class names it
        """Return microseconds since 1970."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # the base class names it
        """Return a time in UTC."""
        return None if value is None else moment(value)


class DurationType(TypeDecorator[timedelta]):
    """A duration."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> float | None:  # noqa: ARG002  # the base class names it
        """Return seconds."""
        return None if value is None else value.total_seconds()

    def process_result_value(self, value: float | None, dialect: Dialect) -> timedelta | None:  # noqa: ARG002  # the base class names it
        """Return a duration."""
        return None if value is None else timedelta(seconds=value)


class JsonType(TypeDecorator[JsonValue]):
    """A JSON value as text: PostgreSQL's own type refuses some strings that JSON allows."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: JsonValue, dialect: Dialect) -> str | None:  # noqa: ARG002  # the base class names it
        """Return ASCII JSON; ``None`` is no value at all."""
        return None if value is None else dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> JsonValue:  # noqa: ARG002  # the base class names it
        """Return the value."""
        return None if value is None else cast("JsonValue", json.loads(value))


metadata = MetaData()

# ``position`` makes every transition monotone: a row is only replaced by one of a higher position. ``due_at`` stands
# where the ledger itself holds the task. The payload comes last, so that SQLite reads past none to get at the rest.
tasks = Table(
    "tasks",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("queue", CleanText, nullable=False),
    Column("type", CleanText, nullable=False),
    Column("group_id", CleanText),
    Column("status", CleanText, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("redrive_count", Integer, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("recorded", Integer, nullable=False, server_default="0"),
    Column("superseded", Integer, nullable=False, server_default="0"),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("created_at", TimeType, nullable=False),
    Column("scheduled_for", TimeType),
    Column("due_at", TimeType),
    Column("leased_until", TimeType),
    Column("started_at", TimeType),
    Column("next_at", TimeType),
    Column("ended_at", TimeType),
    Column("priority", Integer, nullable=False),
    Column("max_retries", Integer, nullable=False),
    Column("visibility_timeout", DurationType),
    Column("expires_at", TimeType),
    Column("callback_url", CleanText),
    Column("deduplication_id", CleanText),
    Column("metadata", JsonType),
    Column("extra", JsonType),
    Column("traceparent", CleanText),
    Column("error", CleanText),
    Column("result", JsonType),
    Column("payload", JsonType),
    Index("tasks_created", "created_at"),
    Index("tasks_queue", "queue", "created_at"),
    Index("tasks_type", "type", "created_at"),
    Index("tasks_status", "status", "created_at"),
    Index("tasks_queue_status", "queue", "status", "created_at"),
    Index("tasks_queue_status_type", "queue", "status", "type", "created_at"),
)
Index(
    "tasks_group",
    tasks.c.group_id,
    tasks.c.created_at,
    postgresql_where=tasks.c.group_id.is_not(None),
    sqlite_where=tasks.c.group_id.is_not(None),
)
Index(
    "tasks_due",
    tasks.c.due_at,
    postgresql_where=tasks.c.due_at.is_not(None),
    sqlite_where=tasks.c.due_at.is_not(None),
)
Index(
    "tasks_due_group",
    tasks.c.queue,
    tasks.c.group_id,
    tasks.c.due_at,
    postgresql_where=and_(tasks.c.group_id.is_not(None), tasks.c.due_at.is_not(None)),
    sqlite_where=and_(tasks.c.group_id.is_not(None), tasks.c.due_at.is_not(None)),
)
# With its status among the columns, or SQLite prefers the index of all statuses and reads every scheduled task.
Index(
    "tasks_scheduled",
    tasks.c.status,
    tasks.c.scheduled_for,
    postgresql_where=text("status = 'scheduled'"),
    sqlite_where=text("status = 'scheduled'"),
)
Index(
    "tasks_ended",
    tasks.c.ended_at,
    postgresql_where=tasks.c.ended_at.is_not(None),
    sqlite_where=tasks.c.ended_at.is_not(None),
)

# Attempts that came back from a run that nobody settled, each with how often it was started since.
suspects = Table(
    "suspects",
    metadata,
    Column("task_id", CleanText, primary_key=True),
    Column("redrive_count", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("starts", Integer, nullable=False),
    Column("marked_at", TimeType, nullable=False),
    Index("suspects_marked", "marked_at"),
)
attempts = Table(
    "attempts",
    metadata,
    Column("task_id", CleanText, primary_key=True),
    Column("redrive_count", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("started_at", TimeType, nullable=False),
    Column("duration", DurationType, nullable=False),
    Column("status", CleanText, nullable=False),
    Column("error", CleanText),
    Column("response_status", Integer),
    sqlite_with_rowid=False,
)

claims = Table(
    "claims",
    metadata,
    Column("kind", CleanText, primary_key=True),
    Column("queue", CleanText, primary_key=True),
    Column("key", CleanText, primary_key=True),
    Column("request_hash", CleanText, nullable=False),
    Column("task_id", CleanText, nullable=False),
    Column("token", CleanText, nullable=False),
    Column("claimed_at", TimeType, nullable=False),
    Column("expires_at", TimeType, nullable=False),
    Column("status", Integer),
    Column("body", LargeBinary),
    Index("claims_expiry", "expires_at"),
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", CleanText, primary_key=True),
    Column("cron", CleanText, nullable=False),
    Column("timezone", CleanText, nullable=False),
    Column("queue", CleanText, nullable=False),
    Column("task", JsonType, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("misfire", CleanText, nullable=False),
    Column("next_run_at", TimeType),
    Column("last_run_at", TimeType),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("task_id", CleanText, primary_key=True),
    Column("redrive_count", Integer, primary_key=True),
    Column("queue", CleanText, nullable=False),
    Column("type", CleanText),
    Column("state", CleanText, nullable=False),
    Column("failure_reason", CleanText, nullable=False),
    Column("failed_at", TimeType, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("response_status", Integer),
    Column("stored_at", TimeType, nullable=False),
    Column("notified_at", TimeType),
    Column("closed_at", TimeType),
    Column("closed_by", CleanText),
    Column("body", CleanText),
)
for _name, _columns, _where in (
    ("dead_letters_waiting", ("queue", "failed_at"), "state = 'waiting'"),
    ("dead_letters_waiting_type", ("queue", "type", "failed_at"), "state = 'waiting'"),
    ("dead_letters_unnotified", ("stored_at",), "notified_at IS NULL"),
    ("dead_letters_closed", ("closed_at",), "closed_at IS NOT NULL"),
):
    Index(
        _name,
        *(dead_letters.c[column] for column in _columns),
        postgresql_where=text(_where),
        sqlite_where=text(_where),
    )

redrives = Table(
    "redrives",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("filter", JsonType, nullable=False),
    Column("actor", CleanText, nullable=False),
    Column("created_at", TimeType, nullable=False),
    Column("matched", Integer, nullable=False),
    Column("max_per_second", Double),
    Column("status", CleanText, nullable=False),
    Column("redriven", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("cursor", CleanText),
    Column("leased_until", TimeType),
    Column("ended_at", TimeType),
)

notices = Table(
    "notices",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("notifier", CleanText, nullable=False),
    Column("queue", CleanText, nullable=False),
    Column("type", CleanText),
    Column("letters", Integer, nullable=False),
    Column("first_failed_at", TimeType, nullable=False),
    Column("last_failed_at", TimeType, nullable=False),
    Column("examples", JsonType, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_try_at", TimeType, nullable=False),
)

queue_marks = Table(
    "queue_marks",
    metadata,
    Column("queue", CleanText, primary_key=True),
    Column("paused", Boolean, nullable=False, server_default=false()),
    Column("purged_at", TimeType),
)

paused_destinations = Table("paused_destinations", metadata, Column("name", CleanText, primary_key=True))

destination_reports = Table(
    "destination_reports",
    metadata,
    Column("name", CleanText, primary_key=True),
    Column("consumer", CleanText, primary_key=True),
    Column("state", CleanText, nullable=False),
    Column("reported_at", TimeType, nullable=False),
    Column("figures", JsonType, nullable=False),
    Index("destination_reports_reported", "reported_at"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", TimeType, nullable=False),
    Column("actor", CleanText, nullable=False),
    Column("action", CleanText, nullable=False),
    Column("target", CleanText, nullable=False),
    Column("touched", Integer),
)
