"""Answers about schedules."""

from datetime import datetime
from typing import Any

from typing_extensions import override

from mcp_queue.domain.callbacks.destinations import origin_of
from mcp_queue.domain.schedules import Misfire
from mcp_queue.gateway.answers import TaskContentView, View, redacted


class ScheduleView(TaskContentView):
    """A schedule. `next_run_at` is `null` while it is paused, `last_run_at` before its first tick."""

    name: str
    cron: str
    timezone: str
    queue: str
    task: dict[str, Any]
    paused: bool
    misfire: Misfire
    next_run_at: datetime | None
    last_run_at: datetime | None
    redacted: bool = redacted()

    @override
    def redactions(self) -> dict[str, object]:
        shown = {name: value for name, value in self.task.items() if name != "payload"}
        if "callback_url" in shown:
            shown["callback_url"] = origin_of(shown["callback_url"])
        return {"task": shown, "redacted": True}


class ScheduleList(View):
    """Schedules by name."""

    schedules: list[ScheduleView]
    next_cursor: str | None
