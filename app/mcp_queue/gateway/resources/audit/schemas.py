"""Answers about the audit log."""

from datetime import datetime

from mcp_queue.gateway.answers import View


class AuditEntryView(View):
    """What an operator did, to what, and how many things it touched."""

    at: datetime
    actor: str
    action: str
    target: str
    count: int | None


class AuditView(View):
    """What operators did, the latest first."""

    entries: list[AuditEntryView]
    next_cursor: str | None
