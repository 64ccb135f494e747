"""Answers about the state of the process."""

from typing import Literal

from mcp_queue.gateway.answers import View, optional


class HealthView(View):
    """The process is up."""

    status: Literal["ok"]


class ReadinessView(View):
    """Whether everything that the gateway uses answers."""

    status: Literal["ok", "degraded"]
    checks: dict[str, Literal["ok", "unavailable"]]
    degraded: list[str] = optional("The queues and other parts that do not work at the moment.")
