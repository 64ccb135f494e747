"""What answers about schedules look like."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from mcp_queue.domain.schedules import Misfire
from mcp_queue.gateway.resources.schemas import redacted


class ScheduleView(BaseModel):
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


class ScheduleList(BaseModel):
    """Schedules by name."""

    schedules: list[ScheduleView]
    next_cursor: str | None
