"""Requests about tasks, and the answers to them."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from mcp_queue.domain.callbacks.destinations import origin_of
from mcp_queue.domain.dead_letters.dead_letter import DeadLetterState
from mcp_queue.domain.operators.keys import Caller, KeyScope
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.domain.task_states import TaskFilter
from mcp_queue.gateway.answers import (
    AnyJson,
    CallbackUrl,
    RedactedView,
    Seconds,
    TaskContentView,
    View,
    optional,
    redacted,
)
from mcp_queue.gateway.resources.requests import PageQuery
from mcp_queue.services.enqueueing.request import BatchTask, Name, Time, TypeName
from mcp_queue.services.enqueueing.submission import Enqueued
from mcp_queue.services.operators.task_records import TaskRecord


class TaskBatch(BaseModel):
    """Up to 1,000 tasks."""

    model_config = ConfigDict(extra="forbid")

    tasks: Annotated[list[BatchTask], Field(min_length=1, max_length=1000)]


class TaskQuery(PageQuery):
    """Which tasks a list shows."""

    queue: Annotated[Name | None, Field(description="Only tasks of this queue.")] = None
    type: Annotated[TypeName | None, Field(description="Only tasks of this type.")] = None
    status: Annotated[TaskStatus | None, Field(description="Only tasks of this status.")] = None
    group: Annotated[Name | None, Field(description="Only tasks of this group.")] = None
    created_after: Annotated[Time | None, Field(description="Only tasks created after this.")] = None
    created_before: Annotated[Time | None, Field(description="Only tasks created before this.")] = None

    def filter(self) -> TaskFilter:
        """Return which tasks are meant."""
        return TaskFilter(
            queue=self.queue,
            type=self.type,
            status=self.status,
            group=self.group,
            created_after=self.created_after,
            created_before=self.created_before,
        )


class TaskSummaryView(RedactedView):
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
        Seconds | None, Field(description="The task's own or its queue's; `null` where that is no longer configured.")
    ]
    callback_url: CallbackUrl
    group: str | None

    @classmethod
    def of_record(cls, record: TaskRecord) -> Self:
        """Return ``record`` as a list shows it."""
        return cls.model_validate(_summary(record.view.task, record.view.status, record.visibility_timeout))

    @override
    def redactions(self) -> dict[str, object]:
        return {**super().redactions(), "callback_url": origin_of(self.callback_url)}


class TaskView(TaskSummaryView, TaskContentView):
    """A task. Durations are in seconds."""

    payload: AnyJson
    deduplicated: bool = optional("Present where the queue had this task already; `id` is then that of the first.")
    redacted: bool = redacted()

    @classmethod
    def of(cls, enqueued: Enqueued) -> Self:
        """Return a task that was enqueued; ``views.enqueued_members`` is the same on the fast path."""
        summary = _summary(enqueued.task, enqueued.status, enqueued.visibility_timeout)
        return cls(**summary, payload=enqueued.task.payload, deduplicated=enqueued.deduplicated)


class AttemptView(View):
    """An attempt that ended. `duration` is in seconds."""

    attempt: int
    started_at: datetime
    duration: Seconds
    status: TaskStatus
    error: str | None
    response_status: Annotated[int | None, Field(description="HTTP status of the callback's answer.")]


class ResultView(View):
    """How the last attempt ended, or the task if there was no attempt. `duration` is in seconds."""

    task_id: str
    status: TaskStatus
    result: AnyJson
    error: str | None
    duration: Seconds
    timestamp: datetime


class RedriveHistoryView(View):
    """A time that the task was dead-lettered, and what became of the dead letter."""

    redrive_count: Annotated[int, Field(description="How often the task had been redriven before.")]
    failure_reason: str
    failed_at: datetime
    state: DeadLetterState
    closed_at: Annotated[datetime | None, Field(description="When it left the state `waiting`.")]
    closed_by: Annotated[
        str | None,
        Field(description="The key that redrove or deleted it, or `retention`; `null` without the scope `admin`."),
    ]


class TaskRecordView(TaskSummaryView, TaskContentView):
    """A task and its history. Attempts are in their order; after a redrive they count from 1 again."""

    payload: AnyJson
    result: ResultView | None
    attempts: list[AttemptView]
    dead_letters: Annotated[
        list[RedriveHistoryView], Field(description="Every time the task was dead-lettered, the oldest first.")
    ]
    redacted: bool = redacted()

    @classmethod
    def of(cls, record: TaskRecord) -> Self:
        """Return ``record`` as ``GET /v1/tasks/{id}`` shows it to those who may see all of it."""
        known = record.view
        return cls.model_validate({
            **_summary(known.task, known.status, record.visibility_timeout),
            "payload": known.task.payload,
            "result": known.result,
            "attempts": known.attempts,
            "dead_letters": known.dead_letters,
        })  # fmt: skip

    def visible_to(self, caller: Caller) -> Self:
        """Return what ``caller`` may see. Names of keys are for those who may read the audit log."""
        shown = super().visible_to(caller)
        if caller.may(KeyScope.ADMIN):
            return shown
        anonymous = [dead_letter.model_copy(update={"closed_by": None}) for dead_letter in self.dead_letters]
        return shown.model_copy(update={"dead_letters": anonymous})

    @override
    def redactions(self) -> dict[str, object]:
        result = None if self.result is None else self.result.model_copy(update={"result": None})
        return {**super().redactions(), "result": result}


class TaskList(View):
    """Tasks without payloads, the newest first."""

    tasks: list[TaskSummaryView]
    next_cursor: str | None


class BatchError(View):
    """Why a task of a batch was not accepted."""

    code: str
    detail: str


class BatchVerdict(View):
    """The verdict on one task of a batch: `id` if it was accepted, else `error`."""

    index: int
    status: int
    id: str = optional()
    deduplicated: bool = optional()
    error: BatchError = optional()


class BatchView(View):
    """The verdicts on a batch, in the order sent."""

    accepted: int
    failed: int
    results: list[BatchVerdict]


def _summary(task: Task, status: TaskStatus, visibility_timeout: timedelta | None) -> dict[str, Any]:
    """Return the members of a ``TaskSummaryView``; ``visibility_timeout`` is the task's own or its queue's."""
    own = {name: getattr(task, name) for name in TaskSummaryView.model_fields if name != "status"}
    return {**own, "status": status, "visibility_timeout": visibility_timeout}
