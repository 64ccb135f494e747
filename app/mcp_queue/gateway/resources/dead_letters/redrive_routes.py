"""Redrives in the background."""

from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.openapi import json_body
from mcp_queue.gateway.resources.actors import actor_of
from mcp_queue.gateway.resources.dead_letters.schemas import RedriveView
from mcp_queue.gateway.resources.dead_letters.views import progress_members
from mcp_queue.gateway.resources.schemas import NoMembers
from mcp_queue.gateway.resources.views import answer
from mcp_queue.gateway.server.auth import check_queue
from mcp_queue.gateway.server.request import Incoming
from mcp_queue.gateway.server.routing import RedriveId, add_route
from mcp_queue.services.dead_letters.interface import DeadLetters
from mcp_queue.services.operators.audit import Auditor


class RedriveRoutes:
    """``/v1/redrives``."""

    def __init__(self, dead_letters: DeadLetters, auditor: Auditor) -> None:
        """Show how far redrives of ``dead_letters`` came, and tell ``auditor`` who stopped one."""
        self._dead_letters = dead_letters
        self._auditor = auditor

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        add = partial(add_route, router, tags=["Dead letters"], view=RedriveView)
        one = "/v1/redrives/{redrive_id}"
        codes = ("not_found", "backend_unavailable", "ledger_disabled")
        add(f"GET {one}", self.get_redrive, scope=KeyScope.READ, refused=codes, summary="Show a redrive")
        add(
            f"POST {one}/cancel",
            self.cancel_redrive,
            scope=KeyScope.OPERATE,
            refused=(*codes, "malformed_json"),
            summary="Stop a redrive",
            openapi_extra={"requestBody": json_body(NoMembers, {}, required=False)},
        )

    async def get_redrive(self, request: Incoming, redrive_id: RedriveId) -> Response:
        """Show how far a redrive came."""
        progress = await self._dead_letters.redrive(redrive_id)
        check_queue(request.caller, progress.queue)
        return answer(progress_members(progress))

    async def cancel_redrive(self, request: Incoming, redrive_id: RedriveId) -> Response:
        """Stop a redrive that still runs. What was sent stays sent; one that has ended stays as it is."""
        request.no_body()
        check_queue(request.caller, (await self._dead_letters.redrive(redrive_id)).queue)
        progress = await self._dead_letters.cancel_redrive(redrive_id)
        await self._auditor.note(actor_of(request), "cancel", f"/v1/redrives/{redrive_id}")
        return answer(progress_members(progress))
