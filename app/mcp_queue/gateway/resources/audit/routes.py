"""Routes of the audit log."""

import re

from fastapi import APIRouter
from starlette.responses import Response

from mcp_queue.domain.operators.audit import AuditEntry
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.answers import answer
from mcp_queue.gateway.resources.audit.schemas import AuditEntryView, AuditView
from mcp_queue.gateway.resources.requests import PageQuery
from mcp_queue.gateway.server.queries import add_query_route, read_query
from mcp_queue.gateway.server.request import GatewayRequest
from mcp_queue.services.operators.audit import Auditor

_QUEUE = re.compile(r"/v1/queues/([^/]+)")


class AuditRoutes:
    """``/v1/audit``."""

    def __init__(self, auditor: Auditor) -> None:
        """Show what ``auditor`` remembers."""
        self._auditor = auditor

    def add_to(self, router: APIRouter) -> None:
        """Register the route."""
        add_query_route(
            router,
            "GET /v1/audit",
            self.list_audit_entries,
            query=PageQuery,
            view=AuditView,
            scope=KeyScope.ADMIN,
            refused=("backend_unavailable", "ledger_disabled"),
            tags=["Service"],
            summary="What did operators do?",
        )

    async def list_audit_entries(self, request: GatewayRequest) -> Response:
        """Show what operators did, the latest first.

        A key that is bound to queues sees what was done to those, so its pages may be shorter than `limit`.
        """
        query = read_query(request, PageQuery)
        found = await self._auditor.entries(limit=query.limit, cursor=query.cursor)
        reached = (entry for entry in found.items if request.caller.reaches(_queue_of(entry)))
        entries = [AuditEntryView.model_validate(entry) for entry in reached]
        return answer(AuditView(entries=entries, next_cursor=found.next_cursor))


def _queue_of(entry: AuditEntry) -> str | None:
    """Return the queue that the path of the entry's target names."""
    match = _QUEUE.match(entry.target)
    return match[1] if match else None
