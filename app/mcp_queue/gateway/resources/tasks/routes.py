"""Routes that show tasks and cancel them."""

from dataclasses import replace
from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from mcp_queue.domain.errors import TaskNotFoundError
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.domain.task import TaskStatus
from mcp_queue.gateway.answers import answer
from mcp_queue.gateway.resources.requests import TaskId, no_members
from mcp_queue.gateway.resources.tasks.schemas import TaskList, TaskQuery, TaskRecordView, TaskSummaryView
from mcp_queue.gateway.server.auth import check_queue
from mcp_queue.gateway.server.queries import add_query_route, read_query
from mcp_queue.gateway.server.request import GatewayRequest
from mcp_queue.gateway.server.routing import add_route
from mcp_queue.services.operators.audit import Auditor
from mcp_queue.services.operators.task_records import TaskRecord, TaskRecords

_READING = ("backend_unavailable", "ledger_disabled")


class TaskRoutes:
    """``/v1/tasks``."""

    def __init__(self, records: TaskRecords, auditor: Auditor) -> None:
        """Show and cancel tasks of ``records``; ``auditor`` notes who cancelled one."""
        self._records = records
        self._auditor = auditor

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        add = partial(add_route, router, tags=["Tasks"], view=TaskRecordView)
        one = "/v1/tasks/{task_id}"
        add_query_route(
            router,
            "GET /v1/tasks",
            self.list_tasks,
            query=TaskQuery,
            view=TaskList,
            refused=_READING,
            scope=KeyScope.READ,
            tags=["Tasks"],
            summary="List tasks",
        )
        reading = (*_READING, "task_not_found")
        add(f"GET {one}", self.get_task, refused=reading, scope=KeyScope.READ, summary="Show a task")
        add(
            f"POST {one}/cancel",
            self.cancel_task,
            refused=(*reading, "task_already_ended", "malformed_json"),
            scope=KeyScope.OPERATE,
            summary="Cancel a task",
            response_description="The task never starts.",
            responses={202: {"model": TaskRecordView, "description": "The task runs, and is asked to stop."}},
            body=no_members(),
        )

    async def list_tasks(self, request: GatewayRequest) -> Response:
        """List tasks of the queues that the key reaches, without their payloads, the newest first."""
        query = read_query(request, TaskQuery)
        if query.queue is not None:
            check_queue(request.caller, query.queue)
        wanted = replace(query.filter(), reached=request.caller.queues)
        found = await self._records.list_tasks(wanted, limit=query.limit, cursor=query.cursor)
        tasks = [TaskSummaryView.of_record(record).visible_to(request.caller) for record in found.items]
        return answer(TaskList(tasks=tasks, next_cursor=found.next_cursor))

    async def get_task(self, request: GatewayRequest, task_id: TaskId) -> Response:
        """Show a task with its payload, its attempts so far, its result and its redrive history."""
        record = await self._reached(request, task_id)
        return answer(TaskRecordView.of(record).visible_to(request.caller))

    async def cancel_task(self, request: GatewayRequest, task_id: TaskId) -> Response:
        """Cancel a task.

        A task that has not started, or waits for its next attempt, never starts. If it runs in an async handler, the
        handler is cancelled at its next await; a callback, or a handler in a thread, may finish.
        """
        request.check_no_members()
        await self._reached(request, task_id)
        status = await self._records.cancel(task_id)
        await self._auditor.note(request.actor, "cancel", f"/v1/tasks/{task_id}")
        view = TaskRecordView.of(await self._records.get(task_id)).visible_to(request.caller)
        return answer(view, 200 if status is TaskStatus.CANCELED else 202)

    async def _reached(self, request: GatewayRequest, task_id: str) -> TaskRecord:
        record = await self._records.get(task_id)
        if not request.caller.reaches(record.view.task.queue):
            raise TaskNotFoundError  # as if there were none: that there is one is not theirs to know
        return record
