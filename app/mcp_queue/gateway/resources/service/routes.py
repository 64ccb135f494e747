"""What those ask for who run the gateway."""

import asyncio
from functools import partial

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.dependencies import GatewayDependencies
from mcp_queue.gateway.openapi import security
from mcp_queue.gateway.resources.schemas import HealthView, ReadinessView
from mcp_queue.gateway.resources.views import answer
from mcp_queue.gateway.server.request import Incoming
from mcp_queue.gateway.server.routing import add_route


class ServiceRoutes:
    """``/healthz``, ``/readyz`` and ``/metrics``."""

    def __init__(self, parts: GatewayDependencies) -> None:
        """Tell the state of ``parts``."""
        self._readiness = parts.readiness
        self._render_metrics = parts.render_metrics

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        # A key is asked for where the door guards these paths; by themselves they are open.
        optional = {"security": [{}, *security(KeyScope.READ)]}
        add = partial(add_route, router, tags=["Service"], scope=KeyScope.READ, openapi_extra=optional)
        add("GET /healthz", self.get_health, view=HealthView, refused=(), summary="Is the process up?")
        ready = ("backend_unavailable",)
        add("GET /readyz", self.get_readiness, view=ReadinessView, refused=ready, summary="Should it get requests?")
        add(
            "GET /metrics",
            self.get_metrics,
            view=None,
            refused=(),
            summary="Prometheus metrics",
            response_description="Prometheus text format.",
            response_class=PlainTextResponse,
        )

    async def get_health(self, _: Incoming) -> Response:
        """Say that the process is up."""
        return answer({"status": "ok"})

    async def get_readiness(self, _: Incoming) -> Response:
        """Say whether what the gateway uses answers. One queue backend that does is enough to be ready."""
        report = await self._readiness.check()
        return answer({"status": report.status, "checks": report.checks})

    async def get_metrics(self, _: Incoming) -> Response:
        """Return the metrics of all gateway processes."""
        # In a thread, since with several processes it reads a file of each.
        page = await asyncio.to_thread(self._render_metrics)
        return Response(page, media_type=CONTENT_TYPE_LATEST)
