"""Dead letters: looking at them, sending them again, and deleting them."""

from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from mcp_queue.domain.dead_letters.reading import RedriveProgress
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.openapi import json_body
from mcp_queue.gateway.resources.actors import actor_of
from mcp_queue.gateway.resources.confirmation import confirm
from mcp_queue.gateway.resources.dead_letters.schemas import (
    DeadLetterDetailsView,
    DeadLetterList,
    DeadLetterPurgeView,
    DeadLetterQuery,
    DeadLetterSummaryView,
    RedriveOutcomeView,
    RedriveRequest,
    RedriveView,
    dead_letters_of,
)
from mcp_queue.gateway.resources.dead_letters.views import (
    details_members,
    list_members,
    outcome_members,
    progress_members,
    summary_members,
)
from mcp_queue.gateway.resources.redaction import seen_by
from mcp_queue.gateway.resources.schemas import PurgeRequest, TaskView
from mcp_queue.gateway.resources.views import answer, task_members
from mcp_queue.gateway.server.auth import check_scope
from mcp_queue.gateway.server.queries import add_query_route, paged, read_query
from mcp_queue.gateway.server.request import Incoming
from mcp_queue.gateway.server.routing import QueueName, TaskId, add_route
from mcp_queue.services.dead_letters.edits import DeadLetterEdits
from mcp_queue.services.dead_letters.interface import DeadLetters
from mcp_queue.services.enqueueing.validation import validated
from mcp_queue.services.operators.audit import Auditor

_DLQ = "/v1/queues/{queue}/dlq"
_ONE = f"{_DLQ}/tasks/{{task_id}}"
_TAGS = ["Dead letters"]
_REFUSED = ("queue_not_found", "not_found", "backend_unavailable", "ledger_disabled")
_EDITS = {
    "As it was": {},
    "With another receiver": {"callback_url": "https://example.com/hooks/mended", "max_retries": 5},
}
_SELECTIONS = {
    "Everything that timed out, ten a second": {"filter": {"reason": "timed out"}, "max_per_second": 10},
    "Everything": {"all": True},
    "How many there are": {"all": True, "dry_run": True},
}


class DeadLetterRoutes:
    """``/v1/queues/{queue}/dlq``."""

    def __init__(self, dead_letters: DeadLetters, auditor: Auditor) -> None:
        """Show ``dead_letters``, and tell ``auditor`` who did what to them."""
        self._dead_letters = dead_letters
        self._auditor = auditor

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        self._add_looking(router)
        self._add_redriving(router)
        self._add_deleting(router)

    def _add_looking(self, router: APIRouter) -> None:
        look = partial(add_route, router, tags=_TAGS, scope=KeyScope.READ)
        look(
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
            summary="List them",
        )
        look(
            f"GET {_ONE}",
            self.get_dead_letter,
            view=DeadLetterDetailsView,
            refused=(*_REFUSED, "task_not_found"),
            summary="Show one",
        )

    def _add_redriving(self, router: APIRouter) -> None:
        change = partial(add_route, router, tags=_TAGS, scope=KeyScope.OPERATE)
        sending = (
            *_REFUSED, "malformed_json", "queue_full", "rate_limited", "delay_not_supported", "task_too_large",
        )  # fmt: skip
        change(
            f"POST {_ONE}/redrive",
            self.redrive_dead_letter,
            view=TaskView,
            refused=(*sending, "task_not_found"),
            summary="Send one again",
            response_description="The task is in its queue again.",
            openapi_extra={"requestBody": json_body(DeadLetterEdits, _EDITS, required=False)},
        )
        change(
            f"POST {_DLQ}/redrive",
            self.redrive_dead_letters,
            view=RedriveOutcomeView,
            refused=sending,
            summary="Send many again",
            responses={202: {"model": RedriveView, "description": "They are sent in the background."}},
            openapi_extra={"requestBody": json_body(RedriveRequest, _SELECTIONS)},
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
            openapi_extra={"requestBody": json_body(PurgeRequest, {"Those of tasks": {"confirm": "tasks"}})},
        )

    async def get_dead_letters(self, _: Incoming, queue: QueueName) -> Response:
        """Count what waits for a person."""
        return answer(summary_members(await self._dead_letters.summary(queue)))

    async def list_dead_letters(self, request: Incoming, queue: QueueName) -> Response:
        """Show dead letters, the newest first. Looking never changes anything."""
        query = read_query(request, DeadLetterQuery)
        listing = self._dead_letters.list_dead_letters(
            dead_letters_of(queue, query), limit=query.limit, cursor=query.cursor
        )
        return answer(list_members(await paged(listing), queue))

    async def get_dead_letter(self, request: Incoming, queue: QueueName, task_id: TaskId) -> Response:
        """Show one dead letter with its payload and attempts."""
        return answer(seen_by(request.caller, details_members(await self._dead_letters.get(queue, task_id), queue)))

    async def redrive_dead_letter(self, request: Incoming, queue: QueueName, task_id: TaskId) -> Response:
        """Send one task back to its queue, with edits where there are any. It keeps its id and begins anew."""
        edits = validated(DeadLetterEdits, request.json_value() if request.content else {})
        if edits.callback_url is not None:
            # Whoever names the receiver is sent the payload.
            check_scope(request.caller, KeyScope.PAYLOADS)
        actor = actor_of(request)
        enqueued = await self._dead_letters.redrive_one(queue, task_id, edits, actor)
        await self._auditor.note(actor, "redrive", f"{_path(queue)}/tasks/{task_id}", 1)
        return answer(seen_by(request.caller, task_members(enqueued)))

    async def redrive_dead_letters(self, request: Incoming, queue: QueueName) -> Response:
        """Send many tasks back: up to 1,000 at once, more or at a rate in the background."""
        wanted = validated(RedriveRequest, request.json_value())
        actor = actor_of(request)
        done = await self._dead_letters.redrive_many(
            dead_letters_of(queue, wanted.filter, wanted.ids),
            actor,
            dry_run=wanted.dry_run,
            max_per_second=wanted.max_per_second,
        )
        if not wanted.dry_run:
            count = done.matched if isinstance(done, RedriveProgress) else done.redriven
            await self._auditor.note(actor, "redrive", _path(queue), count)
        if isinstance(done, RedriveProgress):
            return answer(progress_members(done), 202, {"Location": f"/v1/redrives/{done.id}"})
        return answer(outcome_members(done))

    async def delete_dead_letter(self, request: Incoming, queue: QueueName, task_id: TaskId) -> Response:
        """Delete one dead letter for good."""
        actor = actor_of(request)
        await self._dead_letters.delete(queue, task_id, actor)
        await self._auditor.note(actor, "delete", f"{_path(queue)}/tasks/{task_id}", 1)
        return Response(status_code=204)

    async def purge_dead_letters(self, request: Incoming, queue: QueueName) -> Response:
        """Delete every dead letter of a queue for good."""
        confirm(request, queue)
        actor = actor_of(request)
        purged = await self._dead_letters.purge(queue, actor)
        await self._auditor.note(actor, "purge", _path(queue), purged)
        return answer({"purged": purged})


def _path(queue: str) -> str:
    return f"/v1/queues/{queue}/dlq"
