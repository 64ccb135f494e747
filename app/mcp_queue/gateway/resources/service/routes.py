"""Routes for monitoring: health, readiness and metrics."""

import asyncio
from collections.abc import Callable
from functools import partial

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.answers import answer
from mcp_queue.gateway.resources.service.readiness import GatewayReadiness
from mcp_queue.gateway.resources.service.schemas import HealthView, ReadinessView
from mcp_queue.gateway.server.documentation import security
from mcp_queue.gateway.server.request import GatewayRequest
from mcp_queue.gateway.server.routing import add_route


class ServiceRoutes:
    """``/healthz``, ``/readyz`` and ``/metrics``."""

    def __init__(self, readiness: GatewayReadiness, render_metrics: Callable[[], tuple[bytes, str]]) -> None:
        """Show ``readiness``, and what ``render_metrics`` returns."""
        self._readiness = readiness
        self._render_metrics = render_metrics

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        # These routes are open, unless the authenticator guards them.
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

    async def get_health(self, _: GatewayRequest) -> Response:
        """Say that the process is up."""
        return answer(HealthView(status="ok"))

    async def get_readiness(self, _: GatewayRequest) -> Response:
        """Say whether everything that the gateway uses answers. One queue backend is enough to be ready."""
        report = await self._readiness.check()
        return answer(ReadinessView.model_validate(report))

    async def get_metrics(self, _: GatewayRequest) -> Response:
        """Return the metrics of all gateway processes."""
        # In a thread, since it reads a file of each process where there are several.
        page, content_type = await asyncio.to_thread(self._render_metrics)
        return Response(page, media_type=content_type)
