"""Routes of dead letters: show, redrive and delete them."""

from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from mcp_queue.domain.dead_letters.reading import RedriveProgress
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.answers import answer
from mcp_queue.gateway.resources.dead_letters.schemas import (
    DeadLetterDetailsView,
    DeadLetterList,
    DeadLetterPurgeView,
    DeadLetterQuery,
    DeadLetterSummaryView,
    RedriveOutcomeView,
    RedriveRequest,
    RedriveView,
    chosen_dead_letters,
)
from mcp_queue.gateway.resources.requests import PurgeRequest, QueueName, TaskId, check_confirmed
from mcp_queue.gateway.resources.tasks.schemas import TaskView
from mcp_queue.gateway.server.auth import check_scope
from mcp_queue.gateway.server.documentation import RequestBody
from mcp_queue.gateway.server.queries import add_query_route, read_query
from mcp_queue.gateway.server.request import GatewayRequest
from mcp_queue.gateway.server.routing import add_route
from mcp_queue.services.dead_letters.edits import DeadLetterEdits
from mcp_queue.services.dead_letters.interface import DeadLetters
from mcp_queue.services.enqueueing.validation import validated
from mcp_queue.services.operators.audit import Auditor

_DLQ = "/v1/queues/{queue}/dlq"
_ONE = f"{_DLQ}/tasks/{{task_id}}"
_TAGS = ["Dead letters"]
_REFUSED = ("queue_not_found", "not_found", "backend_unavailable", "ledger_disabled", "not_supported")
_EDITS = {
    "As it was": {},
    "To another URL": {"callback_url": "https://example.com/hooks/mended", "max_retries": 5},
}
_SELECTIONS = {
    "Everything that timed out, ten a second": {"filter": {"reason": "timed out"}, "max_per_second": 10},
    "Everything": {"all": True},
    "How many there are": {"all": True, "dry_run": True},
}


class DeadLetterRoutes:
    """``/v1/queues/{queue}/dlq``."""

    def __init__(self, dead_letters: DeadLetters, auditor: Auditor) -> None:
        """Show and change ``dead_letters``; ``auditor`` notes who did what to them."""
        self._dead_letters = dead_letters
        self._auditor = auditor

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        self._add_reading(router)
        self._add_redriving(router)
        self._add_deleting(router)

    def _add_reading(self, router: APIRouter) -> None:
        read = partial(add_route, router, tags=_TAGS, scope=KeyScope.READ)
        read(
            f"GET {_DLQ}",
            self.get_dead_letters,
            view=DeadLetterSummaryView,
            refused=_REFUSED,
            summary="Count dead letters",
        )
        add_query_route(
            router,
            f"GET {_DLQ}/tasks",
            self.list_dead_letters,
            query=DeadLetterQuery,
            view=DeadLetterList,
            refused=_REFUSED,
            scope=KeyScope.READ,
            tags=_TAGS,
            summary="List dead letters",
        )
        read(
            f"GET {_ONE}",
            self.get_dead_letter,
            view=DeadLetterDetailsView,
            refused=(*_REFUSED, "task_not_found"),
            summary="Show one",
        )

    def _add_redriving(self, router: APIRouter) -> None:
        operate = partial(add_route, router, tags=_TAGS, scope=KeyScope.OPERATE)
        sending = (
            *_REFUSED, "malformed_json", "queue_full", "rate_limited", "delay_not_supported", "task_too_large",
        )  # fmt: skip
        operate(
            f"POST {_ONE}/redrive",
            self.redrive_dead_letter,
            view=TaskView,
            refused=(*sending, "task_not_found"),
            summary="Send one again",
            response_description="The task is in its queue again.",
            body=RequestBody(DeadLetterEdits, _EDITS, required=False),
        )
        operate(
            f"POST {_DLQ}/redrive",
            self.redrive_dead_letters,
            view=RedriveOutcomeView,
            refused=sending,
            summary="Send many again",
            responses={202: {"model": RedriveView, "description": "They are sent in the background."}},
            body=RequestBody(RedriveRequest, _SELECTIONS),
        )

    def _add_deleting(self, router: APIRouter) -> None:
        remove = partial(add_route, router, tags=_TAGS)
        remove(
            f"DELETE {_ONE}",
            self.delete_dead_letter,
            scope=KeyScope.OPERATE,
            view=None,
            refused=(*_REFUSED, "task_not_found"),
            status_code=204,
            summary="Delete one",
            response_description="It is gone for good.",
        )
        remove(
            f"POST {_DLQ}/purge",
            self.purge_dead_letters,
            scope=KeyScope.ADMIN,
            view=DeadLetterPurgeView,
            refused=(*_REFUSED, "malformed_json", "confirmation_mismatch", "rate_limited"),
            summary="Delete all",
            body=RequestBody(PurgeRequest, {"Those of tasks": {"confirm": "tasks"}}),
        )

    async def get_dead_letters(self, _: GatewayRequest, queue: QueueName) -> Response:
        """Count the dead letters that wait for a person."""
        return answer(DeadLetterSummaryView.of(await self._dead_letters.summary(queue)))

    async def list_dead_letters(self, request: GatewayRequest, queue: QueueName) -> Response:
        """Show dead letters, the newest first. Reading them never changes anything."""
        query = read_query(request, DeadLetterQuery)
        found = await self._dead_letters.list_dead_letters(
            chosen_dead_letters(queue, query), limit=query.limit, cursor=query.cursor
        )
        return answer(DeadLetterList.of(found, queue, request.caller))

    async def get_dead_letter(self, request: GatewayRequest, queue: QueueName, task_id: TaskId) -> Response:
        """Show one dead letter with its payload and attempts."""
        details = await self._dead_letters.get(queue, task_id)
        return answer(DeadLetterDetailsView.of_details(details, queue).visible_to(request.caller))

    async def redrive_dead_letter(self, request: GatewayRequest, queue: QueueName, task_id: TaskId) -> Response:
        """Send one task back to its queue, with optional edits. It keeps its id, and its attempts begin again."""
        edits = validated(DeadLetterEdits, request.json_value() if request.content else {})
        if edits.callback_url is not None:
            # The payload goes to the URL that the caller names.
            check_scope(request.caller, KeyScope.PAYLOADS)
        enqueued = await self._dead_letters.redrive_one(queue, task_id, edits, request.actor)
        await self._auditor.note(request.actor, "redrive", f"{_path(queue)}/tasks/{task_id}", 1)
        return answer(TaskView.of(enqueued).visible_to(request.caller))

    async def redrive_dead_letters(self, request: GatewayRequest, queue: QueueName) -> Response:
        """Send many tasks back. Up to 1,000 without a rate are sent at once, others in the background."""
        wanted = validated(RedriveRequest, request.json_value())
        done = await self._dead_letters.redrive_many(
            chosen_dead_letters(queue, wanted.filter, wanted.ids),
            request.actor,
            dry_run=wanted.dry_run,
            max_per_second=wanted.max_per_second,
        )
        if not wanted.dry_run:
            count = done.matched if isinstance(done, RedriveProgress) else done.redriven
            await self._auditor.note(request.actor, "redrive", _path(queue), count)
        if isinstance(done, RedriveProgress):
            return answer(RedriveView.model_validate(done), 202, {"Location": f"/v1/redrives/{done.id}"})
        return answer(RedriveOutcomeView.of(done))

    async def delete_dead_letter(self, request: GatewayRequest, queue: QueueName, task_id: TaskId) -> Response:
        """Delete one dead letter for good."""
        await self._dead_letters.delete(queue, task_id, request.actor)
        await self._auditor.note(request.actor, "delete", f"{_path(queue)}/tasks/{task_id}", 1)
        return Response(status_code=204)

    async def purge_dead_letters(self, request: GatewayRequest, queue: QueueName) -> Response:
        """Delete every dead letter of a queue for good."""
        check_confirmed(request, queue)
        purged = await self._dead_letters.purge(queue, request.actor)
        await self._auditor.note(request.actor, "purge", _path(queue), purged)
        return answer(DeadLetterPurgeView(purged=purged))


def _path(queue: str) -> str:
    return f"/v1/queues/{queue}/dlq"
