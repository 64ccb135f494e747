"""Destinations of callbacks: how they do, and the switch that stops calls to one."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from mcp_queue.domain.formats.serialization import format_time
from mcp_queue.domain.operators.audit import DestinationView
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.openapi import json_body
from mcp_queue.gateway.resources.actors import actor_of
from mcp_queue.gateway.resources.destinations.schemas import DestinationList, DestinationModel
from mcp_queue.gateway.resources.schemas import NoMembers
from mcp_queue.gateway.resources.views import answer, page
from mcp_queue.gateway.server.auth import check_queue
from mcp_queue.gateway.server.request import Incoming
from mcp_queue.gateway.server.routing import add_route
from mcp_queue.services.operators.audit import Auditor
from mcp_queue.services.operators.destinations import DestinationSwitches

_EXAMPLE = "https://example.com:443"
_Name = Annotated[
    str,
    Path(
        description="Scheme, host and port, or the name of a route.",
        openapi_examples={_EXAMPLE: {"summary": _EXAMPLE, "value": _EXAMPLE}},
    ),
]


class DestinationRoutes:
    """``/v1/destinations``. They belong to no queue, so that a key which is bound to some does not come in."""

    def __init__(self, destinations: DestinationSwitches, auditor: Auditor) -> None:
        """Show and switch ``destinations``, and tell ``auditor`` who switched which."""
        self._destinations = destinations
        self._auditor = auditor

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        codes = ("backend_unavailable", "ledger_disabled")
        add_route(
            router,
            "GET /v1/destinations",
            self.list_destinations,
            view=DestinationList,
            refused=codes,
            scope=KeyScope.READ,
            tags=["Destinations"],
            summary="List destinations",
        )
        switch = partial(
            add_route,
            router,
            view=DestinationModel,
            refused=(*codes, "not_found", "malformed_json"),
            scope=KeyScope.OPERATE,
            tags=["Destinations"],
            openapi_extra={"requestBody": json_body(NoMembers, {}, required=False)},
        )
        one = "/v1/destinations/{name:path}"
        switch(f"POST {one}/pause", self.pause_destination, summary="Stop calls to one")
        switch(f"POST {one}/resume", self.resume_destination, summary="Call it again")

    async def list_destinations(self, request: Incoming) -> Response:
        """Show every destination by its name, as each consumer sees it."""
        check_queue(request.caller, None)
        found = await self._destinations.list_destinations()
        return answer(page("destinations", [_members(view) for view in found]))

    async def pause_destination(self, request: Incoming, name: _Name) -> Response:
        """Let no consumer call a destination within 5 seconds. Its tasks wait, and burn no attempt."""
        return await self._switch(request, name, "pause")

    async def resume_destination(self, request: Incoming, name: _Name) -> Response:
        """Let consumers call a destination again within 5 seconds."""
        return await self._switch(request, name, "resume")

    async def _switch(self, request: Incoming, name: str, action: str) -> Response:
        check_queue(request.caller, None)
        request.no_body()
        switches = {"pause": self._destinations.pause, "resume": self._destinations.resume}
        view = await switches[action](name)
        await self._auditor.note(actor_of(request), action, f"/v1/destinations/{view.name}")
        return answer(_members(view))


def _members(view: DestinationView) -> dict[str, object]:
    consumers = [
        {
            "consumer": report.consumer,
            "state": report.state,
            "reported_at": format_time(report.reported_at),
            **report.figures,
        }
        for report in view.reports
    ]
    return {"name": view.name, "paused": view.paused, "consumers": consumers}
