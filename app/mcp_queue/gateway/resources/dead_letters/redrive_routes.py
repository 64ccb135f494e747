"""Routes of redrives in the background."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from mcp_queue.domain.dead_letters.reading import RedriveProgress
from mcp_queue.domain.errors import NotFoundError
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.answers import answer
from mcp_queue.gateway.resources.dead_letters.schemas import RedriveView
from mcp_queue.gateway.resources.requests import no_members
from mcp_queue.gateway.server.request import GatewayRequest
from mcp_queue.gateway.server.routing import add_route
from mcp_queue.services.dead_letters.interface import DeadLetters
from mcp_queue.services.operators.audit import Auditor

_RedriveId = Annotated[str, Path(description="Id of the redrive.")]


class RedriveRoutes:
    """``/v1/redrives``."""

    def __init__(self, dead_letters: DeadLetters, auditor: Auditor) -> None:
        """Show and stop redrives of ``dead_letters``; ``auditor`` notes who stopped one."""
        self._dead_letters = dead_letters
        self._auditor = auditor

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        add = partial(add_route, router, tags=["Dead letters"], view=RedriveView)
        one = "/v1/redrives/{redrive_id}"
        codes = ("not_found", "backend_unavailable", "ledger_disabled", "not_supported")
        add(f"GET {one}", self.get_redrive, scope=KeyScope.READ, refused=codes, summary="Show a redrive")
        add(
            f"POST {one}/cancel",
            self.cancel_redrive,
            scope=KeyScope.OPERATE,
            refused=(*codes, "malformed_json"),
            summary="Stop a redrive",
            body=no_members(),
        )

    async def get_redrive(self, request: GatewayRequest, redrive_id: _RedriveId) -> Response:
        """Show the progress of a redrive."""
        return answer(RedriveView.model_validate(await self._reached(request, redrive_id)))

    async def cancel_redrive(self, request: GatewayRequest, redrive_id: _RedriveId) -> Response:
        """Stop a redrive that still runs. Tasks that were sent stay sent. A redrive that has ended stays as it is."""
        request.check_no_members()
        await self._reached(request, redrive_id)
        progress = await self._dead_letters.cancel_redrive(redrive_id)
        await self._auditor.note(request.actor, "cancel", f"/v1/redrives/{redrive_id}")
        return answer(RedriveView.model_validate(progress))

    async def _reached(self, request: GatewayRequest, redrive_id: str) -> RedriveProgress:
        progress = await self._dead_letters.redrive(redrive_id)
        if not request.caller.reaches(progress.queue):
            raise NotFoundError("there is no such redrive")  # the same as where there is none
        return progress
