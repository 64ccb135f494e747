"""Routes of schedules, which enqueue a task again and again."""

from contextlib import suppress
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from mcp_queue.domain.errors import NotFoundError
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.domain.schedules import Schedule
from mcp_queue.gateway.answers import answer
from mcp_queue.gateway.resources.requests import PageQuery, no_members
from mcp_queue.gateway.resources.schedules.schemas import ScheduleList, ScheduleView
from mcp_queue.gateway.resources.tasks.schemas import TaskView
from mcp_queue.gateway.server.auth import check_queue
from mcp_queue.gateway.server.documentation import RequestBody
from mcp_queue.gateway.server.queries import add_query_route, read_query
from mcp_queue.gateway.server.request import GatewayRequest
from mcp_queue.gateway.server.routing import add_route
from mcp_queue.services.enqueueing.validation import validated
from mcp_queue.services.operators.audit import Auditor
from mcp_queue.services.schedules.schedules import NewSchedule, Schedules

_EXAMPLES = {
    "Every night at three in Berlin": {
        "cron": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "queue": "tasks",
        "task": {"type": "echo", "payload": {"report": "daily"}},
        "misfire": "run_once",
    },
}
_ScheduleName = Annotated[
    str,
    Path(
        description="Name of the schedule.",
        max_length=128,
        pattern="^[A-Za-z0-9_:-][A-Za-z0-9._:-]*$",
        openapi_examples={"nightly": {"summary": "nightly", "value": "nightly"}},
    ),
]


class ScheduleRoutes:
    """``/v1/schedules``."""

    def __init__(self, scheduling: Schedules, auditor: Auditor) -> None:
        """Show and change the schedules of ``scheduling``; ``auditor`` notes who did what to them."""
        self._scheduling = scheduling
        self._auditor = auditor

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        codes = ("backend_unavailable", "ledger_disabled")
        one, known = "/v1/schedules/{name}", (*codes, "not_found")
        read = partial(add_route, router, tags=["Schedules"], scope=KeyScope.READ)
        operate = partial(add_route, router, tags=["Schedules"], scope=KeyScope.OPERATE)
        add_query_route(
            router,
            "GET /v1/schedules",
            self.list_schedules,
            query=PageQuery,
            view=ScheduleList,
            refused=codes,
            scope=KeyScope.READ,
            tags=["Schedules"],
            summary="List schedules",
        )
        read(f"GET {one}", self.get_schedule, view=ScheduleView, refused=known, summary="Show a schedule")
        operate(
            f"PUT {one}",
            self.put_schedule,
            view=ScheduleView,
            refused=(*codes, "malformed_json", "task_too_large"),
            summary="Store a schedule",
            response_description="It replaced the schedule of that name.",
            responses={201: {"model": ScheduleView, "description": "It is new."}},
            body=RequestBody(NewSchedule, _EXAMPLES),
        )
        operate(
            f"DELETE {one}",
            self.delete_schedule,
            view=None,
            refused=known,
            status_code=204,
            summary="Remove a schedule",
            response_description="It is gone. Tasks that it enqueued stay.",
        )
        operate(
            f"POST {one}/run",
            self.run_schedule,
            view=TaskView,
            refused=(*known, "malformed_json", "task_too_large", "delay_not_supported", "queue_full", "rate_limited"),
            status_code=202,
            summary="Run it now",
            response_description="The queue has the task.",
            body=no_members(),
        )

    async def list_schedules(self, request: GatewayRequest) -> Response:
        """List schedules by name.

        A key that is bound to queues sees the schedules of those, so its pages may be shorter than `limit`.
        """
        query, caller = read_query(request, PageQuery), request.caller
        found = await self._scheduling.list_schedules(limit=query.limit, cursor=query.cursor)
        reached = (schedule for schedule in found.items if caller.reaches(schedule.queue))
        schedules = [ScheduleView.model_validate(schedule).visible_to(caller) for schedule in reached]
        return answer(ScheduleList(schedules=schedules, next_cursor=found.next_cursor))

    async def get_schedule(self, request: GatewayRequest, name: _ScheduleName) -> Response:
        """Show a schedule, with the times of its next and its last run."""
        schedule = await self._reached(request, name)
        return answer(ScheduleView.model_validate(schedule).visible_to(request.caller))

    async def put_schedule(self, request: GatewayRequest, name: _ScheduleName) -> Response:
        """Store a schedule. At every tick its task is enqueued once, however many consumers run.

        If the times stay the same, a tick that is due while the schedule is replaced still runs.
        """
        new = validated(NewSchedule, request.json_value())
        check_queue(request.caller, new.queue)
        with suppress(NotFoundError):
            await self._reached(request, name)
        schedule, is_new = await self._scheduling.put(name, new)
        await self._note(request, "put", name)
        return answer(ScheduleView.model_validate(schedule), 201 if is_new else 200)

    async def delete_schedule(self, request: GatewayRequest, name: _ScheduleName) -> Response:
        """Remove a schedule."""
        await self._reached(request, name)
        await self._scheduling.delete(name)
        await self._note(request, "delete", name)
        return Response(status_code=204)

    async def run_schedule(self, request: GatewayRequest, name: _ScheduleName) -> Response:
        """Enqueue the task of a schedule now, even while it is paused. Its ticks go on as before."""
        request.check_no_members()
        await self._reached(request, name)
        enqueued = await self._scheduling.run(name, traceparent=request.traceparent)
        await self._note(request, "run", name)
        view = TaskView.of(enqueued).visible_to(request.caller)
        return answer(view, 202, {"Location": f"/v1/tasks/{enqueued.task.id}"})

    async def _note(self, request: GatewayRequest, action: str, name: str) -> None:
        await self._auditor.note(request.actor, action, f"/v1/schedules/{name}")

    async def _reached(self, request: GatewayRequest, name: str) -> Schedule:
        schedule = await self._scheduling.get(name)
        check_queue(request.caller, schedule.queue)
        return schedule
