"""Routes of callback destinations: their state, and the switch that stops calls to one."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.answers import answer
from mcp_queue.gateway.resources.destinations.schemas import DestinationList, DestinationModel
from mcp_queue.gateway.resources.requests import no_members
from mcp_queue.gateway.server.auth import check_queue
from mcp_queue.gateway.server.request import GatewayRequest
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
    """``/v1/destinations``. Queues share them, so a key that is bound to queues does not reach them."""

    def __init__(self, destinations: DestinationSwitches, auditor: Auditor) -> None:
        """Show and switch ``destinations``; ``auditor`` notes who switched which."""
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
            body=no_members(),
        )
        one = "/v1/destinations/{name:path}"
        switch(f"POST {one}/pause", self.pause_destination, summary="Stop calls to one")
        switch(f"POST {one}/resume", self.resume_destination, summary="Call it again")

    async def list_destinations(self, request: GatewayRequest) -> Response:
        """Show every destination by name, as each consumer sees it."""
        check_queue(request.caller, None)
        found = await self._destinations.list_destinations()
        destinations = [DestinationModel.of(destination) for destination in found]
        return answer(DestinationList(destinations=destinations, next_cursor=None))

    async def pause_destination(self, request: GatewayRequest, name: _Name) -> Response:
        """Stop all calls to a destination within 5 seconds. Its tasks wait, without using up attempts."""
        return await self._switch(request, name, "pause")

    async def resume_destination(self, request: GatewayRequest, name: _Name) -> Response:
        """Let consumers call a destination again. They notice within 5 seconds."""
        return await self._switch(request, name, "resume")

    async def _switch(self, request: GatewayRequest, name: str, action: str) -> Response:
        check_queue(request.caller, None)
        request.check_no_members()
        switches = {"pause": self._destinations.pause, "resume": self._destinations.resume}
        destination = await switches[action](name)
        await self._auditor.note(request.actor, action, f"/v1/destinations/{destination.name}")
        return answer(DestinationModel.of(destination))
