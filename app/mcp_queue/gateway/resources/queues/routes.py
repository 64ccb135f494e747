"""Looking at queues, and the switches that operators have."""

from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.openapi import json_body
from mcp_queue.gateway.resources.actors import actor_of
from mcp_queue.gateway.resources.confirmation import confirm
from mcp_queue.gateway.resources.schemas import NoMembers, PurgeRequest, PurgeView, QueueList, QueueView, StatsView
from mcp_queue.gateway.resources.views import answer, page, queue_members, stats_members
from mcp_queue.gateway.server.request import Incoming
from mcp_queue.gateway.server.routing import QueueName, add_route
from mcp_queue.services.operators.audit import Auditor
from mcp_queue.services.queues.manager import QueueManager


class QueueRoutes:
    """``/v1/queues``."""

    def __init__(self, manager: QueueManager, auditor: Auditor) -> None:
        """Show and switch the queues of ``manager``, and tell ``auditor`` who switched what."""
        self._manager = manager
        self._auditor = auditor

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        look = partial(add_route, router, tags=["Queues"], scope=KeyScope.READ)
        switch = partial(add_route, router, tags=["Queues"], scope=KeyScope.OPERATE)
        destroy = partial(add_route, router, tags=["Queues"], scope=KeyScope.ADMIN)
        one = "/v1/queues/{queue}"
        looking = ("queue_not_found", "backend_unavailable")
        switching = (*looking, "not_found", "malformed_json", "ledger_disabled")
        no_body = {"requestBody": json_body(NoMembers, {}, required=False)}
        confirmed = {"requestBody": json_body(PurgeRequest, {"The queue tasks": {"confirm": "tasks"}})}
        purging = (*looking, "not_found", "malformed_json", "confirmation_mismatch", "rate_limited")
        look(
            "GET /v1/queues", self.list_queues, view=QueueList, refused=("backend_unavailable",), summary="List queues"
        )
        look(f"GET {one}", self.get_queue, view=QueueView, refused=looking, summary="Show a queue")
        look(f"GET {one}/stats", self.get_queue_stats, view=StatsView, refused=looking, summary="Count its tasks")
        pause, resume, purge = f"POST {one}/pause", f"POST {one}/resume", f"POST {one}/purge"
        switch(pause, self.pause_queue, view=QueueView, refused=switching, summary="Pause it", openapi_extra=no_body)
        switch(resume, self.resume_queue, view=QueueView, refused=switching, summary="Resume it", openapi_extra=no_body)
        destroy(purge, self.purge_queue, view=PurgeView, refused=purging, summary="Empty it", openapi_extra=confirmed)

    async def list_queues(self, request: Incoming) -> Response:
        """Show every queue that the key reaches, in the order of the configuration.

        Levels of a priority queue are not listed.
        """
        queues = await self._manager.describe_all()
        reached = [queue for queue in queues if request.caller.reaches(queue.spec.public_name)]
        return answer(page("queues", [queue_members(queue) for queue in reached]))

    async def get_queue(self, _: Incoming, queue: QueueName) -> Response:
        """Show how a queue is configured, and whether it is paused."""
        return answer(queue_members(await self._manager.describe(queue)))

    async def get_queue_stats(self, _: Incoming, queue: QueueName) -> Response:
        """Count what lies in a queue."""
        return answer(stats_members(await self._manager.stats(queue)))

    async def pause_queue(self, request: Incoming, queue: QueueName) -> Response:
        """Stop consumers from receiving within 5 seconds. Tasks are still accepted."""
        request.no_body()
        paused = await self._manager.pause(queue)
        await self._note(request, "pause", queue)
        return answer(queue_members(paused))

    async def resume_queue(self, request: Incoming, queue: QueueName) -> Response:
        """Let consumers receive again within 5 seconds."""
        request.no_body()
        resumed = await self._manager.resume(queue)
        await self._note(request, "resume", queue)
        return answer(queue_members(resumed))

    async def purge_queue(self, request: Incoming, queue: QueueName) -> Response:
        """Delete the waiting, delayed and scheduled tasks of a queue; on SQS the running ones too."""
        confirm(request, queue)
        purged = await self._manager.purge(queue)
        await self._note(request, "purge", queue, purged)
        return answer({"purged": purged})

    async def _note(self, request: Incoming, action: str, queue: str, count: int | None = None) -> None:
        await self._auditor.note(actor_of(request), action, f"/v1/queues/{queue}", count)
