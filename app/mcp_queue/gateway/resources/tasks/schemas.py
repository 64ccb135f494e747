"""What questions about tasks, and the answers to them, look like."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from mcp_queue.domain.task import TaskStatus
from mcp_queue.domain.task_states import TaskFilter
from mcp_queue.gateway.resources.schemas import PageQuery, TaskSummaryView, redacted
from mcp_queue.services.enqueueing.request import Name, Time, TypeName


class TaskQuery(PageQuery):
    """Which tasks a list shows."""

    queue: Annotated[Name | None, Field(description="Only tasks of this queue.")] = None
    type: Annotated[TypeName | None, Field(description="Only tasks of this type.")] = None
    status: Annotated[TaskStatus | None, Field(description="Only tasks that stand there.")] = None
    group: Annotated[Name | None, Field(description="Only tasks of this group.")] = None
    created_after: Annotated[Time | None, Field(description="Only what was created after this.")] = None
    created_before: Annotated[Time | None, Field(description="Only what was created before this.")] = None

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


class AttemptView(BaseModel):
    """An attempt that ended. `duration` is in seconds."""

    attempt: int
    started_at: datetime
    duration: float
    status: TaskStatus
    error: str | None
    response_status: Annotated[int | None, Field(description="HTTP status of the callback's answer.")]


class ResultView(BaseModel):
    """How the last attempt ended, or the task without one. `duration` is in seconds."""

    task_id: str
    status: TaskStatus
    result: JsonValue
    error: str | None
    duration: float
    timestamp: datetime


class TaskRecordView(TaskSummaryView):
    """A task with what came of it. Attempts stand in their order; those after a redrive count from 1 again."""

    payload: JsonValue
    result: ResultView | None
    attempts: list[AttemptView]
    redacted: bool = redacted()


class TaskList(BaseModel):
    """Tasks without payloads, the newest first."""

    tasks: list[TaskSummaryView]
    next_cursor: str | None
