"""The gateway as an ASGI application."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp

from mcp_queue.gateway.dependencies import GatewayDependencies
from mcp_queue.gateway.openapi import document
from mcp_queue.gateway.resources.audit.routes import AuditRoutes
from mcp_queue.gateway.resources.dead_letters.redrive_routes import RedriveRoutes
from mcp_queue.gateway.resources.dead_letters.routes import DeadLetterRoutes
from mcp_queue.gateway.resources.destinations.routes import DestinationRoutes
from mcp_queue.gateway.resources.queues.routes import QueueRoutes
from mcp_queue.gateway.resources.schedules.routes import ScheduleRoutes
from mcp_queue.gateway.resources.service.documents import DocumentRoutes
from mcp_queue.gateway.resources.service.routes import ServiceRoutes
from mcp_queue.gateway.resources.tasks.enqueue_routes import TaskRoutes
from mcp_queue.gateway.resources.tasks.routes import TaskRecordRoutes
from mcp_queue.gateway.server.admission import Gate

_TAGS = [
    {"name": "Tasks", "description": "What clients do."},
    {"name": "Queues", "description": "What operators see and switch."},
    {"name": "Schedules", "description": "Tasks that come again and again."},
    {"name": "Dead letters", "description": "What failed for good, and waits for a person."},
    {"name": "Destinations", "description": "Whom callbacks go to."},
    {"name": "Service", "description": "What watches over the gateway."},
]


class Gateway(FastAPI):
    """FastAPI with the gate in place of its own middleware."""

    def __init__(self, parts: GatewayDependencies) -> None:
        """Be without routes at first."""
        super().__init__(
            title="MCP queue gateway",
            summary="An HTTP task queue in front of Amazon SQS.",
            version=parts.version,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            openapi_tags=_TAGS,
            openapi_url=None,  # DocumentRoutes serves it
            redirect_slashes=False,
            generate_unique_id_function=_operation_id,
            # Traces and metrics are the business of whoever made the parts.
            telemetry={"tracing": False, "metrics": False, "logs": False},
        )
        self._parts = parts

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = document(self)
        return self.openapi_schema

    def build_middleware_stack(self) -> ASGIApp:
        """Return the gate around the router.

        What FastAPI puts there (exception handlers, stacks for dependencies, a second body limit) takes a third of
        the time of an enqueue, and no route of the gateway uses it. The outermost layer is the one that
        OpenTelemetry's instrumentation expects to find.
        """
        return ServerErrorMiddleware(Gate(self.router, self._parts))


def create_app(parts: GatewayDependencies, *, with_service: bool = True) -> FastAPI:
    """Return the application made of ``parts``. What it uses is opened and closed by whoever made them.

    Without ``with_service``, health and metrics are left to ``create_service_app``.
    """
    app = Gateway(parts)
    # The router tries routes in this order.
    TaskRoutes(parts.manager).add_to(app.router)
    TaskRecordRoutes(parts.records, parts.auditor).add_to(app.router)
    QueueRoutes(parts.manager, parts.auditor).add_to(app.router)
    ScheduleRoutes(parts.scheduling, parts.auditor).add_to(app.router)
    DeadLetterRoutes(parts.dead_letters, parts.auditor).add_to(app.router)
    RedriveRoutes(parts.dead_letters, parts.auditor).add_to(app.router)
    DestinationRoutes(parts.destinations, parts.auditor).add_to(app.router)
    AuditRoutes(parts.auditor).add_to(app.router)
    if with_service:
        ServiceRoutes(parts).add_to(app.router)
    DocumentRoutes(app).add_to(app.router)
    return app


def create_service_app(parts: GatewayDependencies) -> FastAPI:
    """Return an application with the health and metrics of the process alone, to be served on a port of its own."""
    app = Gateway(parts)
    ServiceRoutes(parts).add_to(app.router)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
