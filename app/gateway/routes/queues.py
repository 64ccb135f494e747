"""Looking at queues, and the switches that operators have."""

from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from app.gateway.incoming import Incoming
from app.gateway.openapi import json_body
from app.gateway.problems import Problem, ProblemError
from app.gateway.routing import QueueName, add_route
from app.gateway.schemas import NoMembers, PurgeRequest, PurgeView, QueueList, QueueView, StatsView
from app.gateway.views import answer, page, queue_members, stats_members
from app.services.queue_manager import QueueManager
from app.services.validation import validated


class QueueRoutes:
    """``/v1/queues``."""

    def __init__(self, manager: QueueManager) -> None:
        """Show and switch the queues of ``manager``."""
        self._manager = manager

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        add = partial(add_route, router, tags=["Queues"])
        one = "/v1/queues/{queue}"
        looking = ("queue_not_found", "backend_unavailable")
        switching = (*looking, "not_found", "malformed_json", "ledger_disabled")
        no_body = {"requestBody": json_body(NoMembers, {}, required=False)}
        confirmed = {"requestBody": json_body(PurgeRequest, {"The queue tasks": {"confirm": "tasks"}})}
        purging = (*looking, "not_found", "malformed_json", "confirmation_mismatch", "rate_limited")
        add("GET /v1/queues", self.list_queues, view=QueueList, refused=("backend_unavailable",), summary="List queues")
        add(f"GET {one}", self.get_queue, view=QueueView, refused=looking, summary="Show a queue")
        add(f"GET {one}/stats", self.get_queue_stats, view=StatsView, refused=looking, summary="Count its tasks")
        pause, resume, purge = f"POST {one}/pause", f"POST {one}/resume", f"POST {one}/purge"
        add(pause, self.pause_queue, view=QueueView, refused=switching, summary="Pause it", openapi_extra=no_body)
        add(resume, self.resume_queue, view=QueueView, refused=switching, summary="Resume it", openapi_extra=no_body)
        add(purge, self.purge_queue, view=PurgeView, refused=purging, summary="Empty it", openapi_extra=confirmed)

    async def list_queues(self, _: Incoming) -> Response:
        """Show every queue, in the order of the configuration. Levels of a priority queue are not listed."""
        queues = await self._manager.describe_all()
        return answer(page("queues", [queue_members(queue) for queue in queues]))

    async def get_queue(self, _: Incoming, queue: QueueName) -> Response:
        """Show how a queue is configured, and whether it is paused."""
        return answer(queue_members(await self._manager.describe(queue)))

    async def get_queue_stats(self, _: Incoming, queue: QueueName) -> Response:
        """Count what lies in a queue."""
        return answer(stats_members(await self._manager.stats(queue)))

    async def pause_queue(self, request: Incoming, queue: QueueName) -> Response:
        """Stop consumers from receiving within 5 seconds. Tasks are still accepted."""
        request.no_body()
        return answer(queue_members(await self._manager.pause(queue)))

    async def resume_queue(self, request: Incoming, queue: QueueName) -> Response:
        """Let consumers receive again within 5 seconds."""
        request.no_body()
        return answer(queue_members(await self._manager.resume(queue)))

    async def purge_queue(self, request: Incoming, queue: QueueName) -> Response:
        """Delete the waiting, delayed and scheduled tasks of a queue; on SQS the running ones too."""
        if validated(PurgeRequest, request.json_value()).confirm != queue:
            detail = 'the member "confirm" has to be the name of the queue'
            raise ProblemError(Problem(code="confirmation_mismatch", detail=detail))
        return answer({"purged": await self._manager.purge(queue)})
