"""Looking tasks up, and withdrawing them."""

from dataclasses import replace
from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.domain.task import TaskStatus
from mcp_queue.gateway.openapi import json_body
from mcp_queue.gateway.resources.actors import actor_of
from mcp_queue.gateway.resources.redaction import seen_by
from mcp_queue.gateway.resources.schemas import NoMembers
from mcp_queue.gateway.resources.tasks.schemas import TaskList, TaskQuery, TaskRecordView
from mcp_queue.gateway.resources.views import answer, page, record_members, record_summary_members
from mcp_queue.gateway.server.auth import check_queue
from mcp_queue.gateway.server.queries import add_query_route, paged, read_query
from mcp_queue.gateway.server.request import Incoming
from mcp_queue.gateway.server.routing import TaskId, add_route
from mcp_queue.services.operators.audit import Auditor
from mcp_queue.services.operators.task_records import TaskRecord, TaskRecords

_LOOKING = ("backend_unavailable", "ledger_disabled")


class TaskRecordRoutes:
    """``/v1/tasks``."""

    def __init__(self, records: TaskRecords, auditor: Auditor) -> None:
        """Show and withdraw tasks of ``records``, and tell ``auditor`` who withdrew one."""
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
            refused=_LOOKING,
            scope=KeyScope.READ,
            tags=["Tasks"],
            summary="List tasks",
        )
        looking = (*_LOOKING, "task_not_found")
        add(f"GET {one}", self.get_task, refused=looking, scope=KeyScope.READ, summary="Show a task")
        add(
            f"POST {one}/cancel",
            self.cancel_task,
            refused=(*looking, "task_already_ended", "malformed_json"),
            scope=KeyScope.OPERATE,
            summary="Cancel a task",
            response_description="The task never starts.",
            responses={202: {"model": TaskRecordView, "description": "The task runs, and is asked to stop."}},
            openapi_extra={"requestBody": json_body(NoMembers, {}, required=False)},
        )

    async def list_tasks(self, request: Incoming) -> Response:
        """List tasks of the queues that the key reaches, without their payloads, the newest first."""
        query = read_query(request, TaskQuery)
        if query.queue is not None:
            check_queue(request.caller, query.queue)
        wanted = replace(query.filter(), reached=request.caller.queues)
        found = await paged(self._records.list_tasks(wanted, limit=query.limit, cursor=query.cursor))
        return answer(page("tasks", [record_summary_members(record) for record in found.items], found.next_cursor))

    async def get_task(self, request: Incoming, task_id: TaskId) -> Response:
        """Show a task with its payload, its attempts so far and its result."""
        return answer(seen_by(request.caller, record_members(await self._reached(request, task_id))))

    async def cancel_task(self, request: Incoming, task_id: TaskId) -> Response:
        """Withdraw a task.

        One that has not started, or waits for its next attempt, never starts. Of a running one, an async handler is
        cancelled at its next await; a callback or a handler in a thread is let finish.
        """
        request.no_body()
        await self._reached(request, task_id)
        status = await self._records.cancel(task_id)
        await self._auditor.note(actor_of(request), "cancel", f"/v1/tasks/{task_id}")
        record = await self._records.get(task_id)
        return answer(seen_by(request.caller, record_members(record)), 200 if status is TaskStatus.CANCELED else 202)

    async def _reached(self, request: Incoming, task_id: str) -> TaskRecord:
        record = await self._records.get(task_id)
        check_queue(request.caller, record.view.task.queue)
        return record
