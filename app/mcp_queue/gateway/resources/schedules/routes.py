"""Recurring tasks."""

from contextlib import suppress
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from mcp_queue.domain.errors import NotFoundError
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.domain.schedules import Schedule
from mcp_queue.gateway.openapi import json_body
from mcp_queue.gateway.resources.actors import actor_of
from mcp_queue.gateway.resources.redaction import seen_by
from mcp_queue.gateway.resources.schedules.schemas import ScheduleList, ScheduleView
from mcp_queue.gateway.resources.schemas import NoMembers, PageQuery, TaskView
from mcp_queue.gateway.resources.views import answer, page, schedule_members, task_members
from mcp_queue.gateway.server.auth import check_queue
from mcp_queue.gateway.server.queries import add_query_route, paged, read_query
from mcp_queue.gateway.server.request import Incoming
from mcp_queue.gateway.server.routing import add_route
from mcp_queue.gateway.server.tracing import traceparent
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
        """Show and change the schedules of ``scheduling``, and tell ``auditor`` who did what to them."""
        self._scheduling = scheduling
        self._auditor = auditor

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        codes = ("backend_unavailable", "ledger_disabled")
        one, known = "/v1/schedules/{name}", (*codes, "not_found")
        look = partial(add_route, router, tags=["Schedules"], scope=KeyScope.READ)
        change = partial(add_route, router, tags=["Schedules"], scope=KeyScope.OPERATE)
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
        look(f"GET {one}", self.get_schedule, view=ScheduleView, refused=known, summary="Show a schedule")
        change(
            f"PUT {one}",
            self.put_schedule,
            view=ScheduleView,
            refused=(*codes, "malformed_json", "task_too_large"),
            summary="Store a schedule",
            response_description="It took the place of the one of that name.",
            responses={201: {"model": ScheduleView, "description": "It is new."}},
            openapi_extra={"requestBody": json_body(NewSchedule, _EXAMPLES)},
        )
        change(
            f"DELETE {one}",
            self.delete_schedule,
            view=None,
            refused=known,
            status_code=204,
            summary="Remove a schedule",
            response_description="It is gone; tasks of its ticks stay.",
        )
        change(
            f"POST {one}/run",
            self.run_schedule,
            view=TaskView,
            refused=(*known, "malformed_json", "task_too_large", "delay_not_supported", "queue_full", "rate_limited"),
            status_code=202,
            summary="Run it now",
            response_description="The queue has the task.",
            openapi_extra={"requestBody": json_body(NoMembers, {}, required=False)},
        )

    async def list_schedules(self, request: Incoming) -> Response:
        """List schedules by name.

        A key that is bound to queues sees those of its own: its pages may be shorter than asked for.
        """
        query = read_query(request, PageQuery)
        found = await paged(self._scheduling.list_schedules(limit=query.limit, cursor=query.cursor))
        shown = [
            seen_by(request.caller, schedule_members(schedule))
            for schedule in found.items
            if request.caller.reaches(schedule.queue)
        ]
        return answer(page("schedules", shown, found.next_cursor))

    async def get_schedule(self, request: Incoming, name: _ScheduleName) -> Response:
        """Show a schedule, when its next tick is due and which was the last that ran."""
        return answer(seen_by(request.caller, schedule_members(await self._reached(request, name))))

    async def put_schedule(self, request: Incoming, name: _ScheduleName) -> Response:
        """Store a schedule: its task goes into its queue at every tick, once, however many consumers run.

        Where the times stay the same, a tick that is due while the schedule is replaced still runs.
        """
        new = validated(NewSchedule, request.json_value())
        check_queue(request.caller, new.queue)
        with suppress(NotFoundError):
            await self._reached(request, name)
        schedule, is_new = await self._scheduling.put(name, new)
        await self._note(request, "put", name)
        return answer(schedule_members(schedule), 201 if is_new else 200)

    async def delete_schedule(self, request: Incoming, name: _ScheduleName) -> Response:
        """Remove a schedule."""
        await self._reached(request, name)
        await self._scheduling.delete(name)
        await self._note(request, "delete", name)
        return Response(status_code=204)

    async def run_schedule(self, request: Incoming, name: _ScheduleName) -> Response:
        """Enqueue the task of a schedule now, paused or not. Its ticks go on as before."""
        request.no_body()
        await self._reached(request, name)
        enqueued = await self._scheduling.run(name, traceparent=traceparent(request.raw_headers))
        await self._note(request, "run", name)
        members = seen_by(request.caller, task_members(enqueued))
        return answer(members, 202, {"Location": f"/v1/tasks/{enqueued.task.id}"})

    async def _note(self, request: Incoming, action: str, name: str) -> None:
        await self._auditor.note(actor_of(request), action, f"/v1/schedules/{name}")

    async def _reached(self, request: Incoming, name: str) -> Schedule:
        schedule = await self._scheduling.get(name)
        check_queue(request.caller, schedule.queue)
        return schedule
