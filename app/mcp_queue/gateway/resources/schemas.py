"""What requests and answers look like, for the OpenAPI document. What builds the answers is in ``views``."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.config import JsonDict

from mcp_queue.domain.queues import Backend, FailurePolicy, LevelPolicy, QueueKind
from mcp_queue.domain.task import TaskStatus
from mcp_queue.domain.task_states import MAX_PAGE
from mcp_queue.services.enqueueing.request import BatchTask


def _without_default(schema: JsonDict) -> None:
    schema.pop("default", None)


def optional(description: str | None = None) -> Any:
    """Return the default of a member of an answer that is absent where it says nothing."""
    return Field(default=None, description=description, json_schema_extra=_without_default)


def redacted() -> Any:
    """Return the default of the member that tells what the caller may not see."""
    return optional("Present where the key is without the scope `payloads`: what is in the task is left out then.")


class TaskBatch(BaseModel):
    """Up to 1,000 tasks."""

    model_config = ConfigDict(extra="forbid")

    tasks: Annotated[list[BatchTask], Field(min_length=1, max_length=1000)]


class PurgeRequest(BaseModel):
    """The name of the queue once more, so that no queue is emptied by a slip."""

    model_config = ConfigDict(extra="forbid", strict=True)

    confirm: str


class NoMembers(BaseModel):
    """An empty object."""

    model_config = ConfigDict(extra="forbid")


class PageQuery(BaseModel):
    """Which part of a list is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="Length of the page.")] = 50
    cursor: Annotated[
        str | None, Field(min_length=1, max_length=1024, description="`next_cursor` of the page before.")
    ] = None


class TaskSummaryView(BaseModel):
    """A task without its payload. Durations are in seconds."""

    id: str
    queue: str
    type: str
    priority: int
    status: TaskStatus
    metadata: dict[str, str]
    created_at: datetime
    scheduled_for: datetime | None
    expires_at: datetime | None
    max_retries: int
    retry_count: int
    visibility_timeout: Annotated[
        float | None, Field(description="The task's own or its queue's; `null` where that is no longer configured.")
    ]
    callback_url: str | None
    group: str | None


class TaskView(TaskSummaryView):
    """A task. Durations are in seconds."""

    payload: JsonValue
    deduplicated: bool = optional("Present where the queue had this task already; `id` is then that of the first.")
    redacted: bool = redacted()


class BatchError(BaseModel):
    """Why a task of a batch was not accepted."""

    code: str
    detail: str


class BatchVerdict(BaseModel):
    """What became of one task of a batch: `id` where it was accepted, else `error`."""

    index: int
    status: int
    id: str = optional()
    deduplicated: bool = optional()
    error: BatchError = optional()


class BatchView(BaseModel):
    """What became of a batch, in the order sent."""

    accepted: int
    failed: int
    results: list[BatchVerdict]


class QueueConfiguration(BaseModel):
    """How a queue is set up. Durations are in seconds; `null` is no limit, or not for this kind."""

    visibility_timeout: float
    max_receive_count: int
    max_retries: int
    max_depth: int | None
    max_task_bytes: int
    message_group_id: str | None
    failure_policy: FailurePolicy | None
    levels: dict[str, str] | None
    level_policy: LevelPolicy | None


class QueueView(BaseModel):
    """A queue. One that holds dead letters takes no tasks, no pause and no purge by its own name."""

    name: str
    kind: QueueKind
    backend: Literal[Backend.SQS, Backend.SQLITE]
    dead_letter_queue: str | None
    holds_dead_letters: bool
    paused: bool
    configuration: QueueConfiguration


class QueueList(BaseModel):
    """Every queue."""

    queues: list[QueueView]
    next_cursor: None


class StatsView(BaseModel):
    """What lies in a queue. Counts may lag on SQS; what is not known is `null`."""

    queue_name: str
    approximate_messages: int
    inflight_messages: int
    delayed_messages: int
    oldest_message_age: Annotated[float | None, Field(description="In seconds.")]
    dead_letters: int | None
    paused: bool
    attributes: dict[str, str]


class PurgeView(BaseModel):
    """How many tasks were deleted; `null` where the backend does not say."""

    purged: int | None


class HealthView(BaseModel):
    """The process is up."""

    status: Literal["ok"]


class ReadinessView(BaseModel):
    """Whether everything that the gateway uses answers."""

    status: Literal["ok", "degraded"]
    checks: dict[str, Literal["ok", "unavailable"]]


class ProblemField(BaseModel):
    """One wrong member of the request."""

    loc: list[str | int]
    msg: str


class ProblemView(BaseModel):
    """An error (RFC 9457). `code` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[ProblemField] = optional()
    retryable: Annotated[bool, Field(description="The same request may succeed after `Retry-After`.")]
    trace_id: str
