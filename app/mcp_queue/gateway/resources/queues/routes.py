"""Routes of queues: their configuration and counts, pause and purge."""

from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.answers import answer
from mcp_queue.gateway.resources.queues.schemas import PurgeView, QueueList, QueueView, StatsView
from mcp_queue.gateway.resources.requests import PurgeRequest, QueueName, check_confirmed, no_members
from mcp_queue.gateway.server.documentation import RequestBody
from mcp_queue.gateway.server.request import GatewayRequest
from mcp_queue.gateway.server.routing import add_route
from mcp_queue.services.operators.audit import Auditor
from mcp_queue.services.queues.manager import QueueManager


class QueueRoutes:
    """``/v1/queues``."""

    def __init__(self, manager: QueueManager, auditor: Auditor) -> None:
        """Show and switch the queues of ``manager``; ``auditor`` notes who switched what."""
        self._manager = manager
        self._auditor = auditor

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        read = partial(add_route, router, tags=["Queues"], scope=KeyScope.READ)
        operate = partial(add_route, router, tags=["Queues"], scope=KeyScope.OPERATE)
        administer = partial(add_route, router, tags=["Queues"], scope=KeyScope.ADMIN)
        one = "/v1/queues/{queue}"
        reading = ("queue_not_found", "backend_unavailable")
        switching = (*reading, "not_found", "malformed_json", "ledger_disabled")
        confirmed = RequestBody(PurgeRequest, {"The queue tasks": {"confirm": "tasks"}})
        purging = (*reading, "not_found", "malformed_json", "confirmation_mismatch", "rate_limited")
        read(
            "GET /v1/queues", self.list_queues, view=QueueList, refused=("backend_unavailable",), summary="List queues"
        )
        read(f"GET {one}", self.get_queue, view=QueueView, refused=reading, summary="Show a queue")
        read(f"GET {one}/stats", self.get_queue_stats, view=StatsView, refused=reading, summary="Count its tasks")
        pause, resume, purge = f"POST {one}/pause", f"POST {one}/resume", f"POST {one}/purge"
        operate(pause, self.pause_queue, view=QueueView, refused=switching, summary="Pause it", body=no_members())
        operate(resume, self.resume_queue, view=QueueView, refused=switching, summary="Resume it", body=no_members())
        administer(purge, self.purge_queue, view=PurgeView, refused=purging, summary="Empty it", body=confirmed)

    async def list_queues(self, request: GatewayRequest) -> Response:
        """Show every queue that the key reaches, in the order of the configuration.

        Levels of a priority queue are not listed.
        """
        queues = await self._manager.describe_all()
        reached = [QueueView.of(queue) for queue in queues if request.caller.reaches(queue.spec.public_name)]
        return answer(QueueList(queues=reached, next_cursor=None))

    async def get_queue(self, _: GatewayRequest, queue: QueueName) -> Response:
        """Show how a queue is configured, and whether it is paused."""
        return answer(QueueView.of(await self._manager.describe(queue)))

    async def get_queue_stats(self, _: GatewayRequest, queue: QueueName) -> Response:
        """Count the tasks in a queue."""
        return answer(StatsView.model_validate(await self._manager.stats(queue)))

    async def pause_queue(self, request: GatewayRequest, queue: QueueName) -> Response:
        """Stop consumers from receiving within 5 seconds. Tasks are still accepted."""
        request.check_no_members()
        paused = await self._manager.pause(queue)
        await self._note(request, "pause", queue)
        return answer(QueueView.of(paused))

    async def resume_queue(self, request: GatewayRequest, queue: QueueName) -> Response:
        """Let consumers receive again within 5 seconds."""
        request.check_no_members()
        resumed = await self._manager.resume(queue)
        await self._note(request, "resume", queue)
        return answer(QueueView.of(resumed))

    async def purge_queue(self, request: GatewayRequest, queue: QueueName) -> Response:
        """Delete the waiting, delayed and scheduled tasks of a queue; on SQS the running ones too."""
        check_confirmed(request, queue)
        purged = await self._manager.purge(queue)
        await self._note(request, "purge", queue, purged)
        return answer(PurgeView(purged=purged))

    async def _note(self, request: GatewayRequest, action: str, queue: str, count: int | None = None) -> None:
        await self._auditor.note(request.actor, action, f"/v1/queues/{queue}", count)
