"""Puts the gateway together as an ASGI application."""

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
from mcp_queue.gateway.resources.tasks.enqueue_routes import EnqueueRoutes
from mcp_queue.gateway.resources.tasks.routes import TaskRoutes
from mcp_queue.gateway.server.admission import AdmissionMiddleware

_TAGS = [
    {"name": "Tasks", "description": "Enqueue tasks, look them up and cancel them."},
    {"name": "Queues", "description": "What is in a queue, and the switches of operators."},
    {"name": "Schedules", "description": "Recurring tasks."},
    {"name": "Dead letters", "description": "Tasks that failed for good and wait for a person."},
    {"name": "Destinations", "description": "Where callbacks are sent."},
    {"name": "Service", "description": "Health, metrics and the audit log."},
]


class GatewayApplication(FastAPI):
    """FastAPI with ``AdmissionMiddleware`` in place of its own middleware. It begins without routes."""

    def __init__(self, dependencies: GatewayDependencies) -> None:
        """Keep what the gateway needs."""
        super().__init__(
            title="MCP queue gateway",
            summary="An HTTP task queue in front of Amazon SQS.",
            version=dependencies.version,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            openapi_tags=_TAGS,
            openapi_url=None,  # DocumentRoutes serves it
            redirect_slashes=False,
            generate_unique_id_function=_operation_id,
            # The dependencies bring traces and metrics of their own.
            telemetry={"tracing": False, "metrics": False, "logs": False},
        )
        self._dependencies = dependencies

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = document(self)
        return self.openapi_schema

    def build_middleware_stack(self) -> ASGIApp:
        """Return the middleware around the router.

        FastAPI's own (exception handlers, stacks for dependencies, a second body limit) takes a third of the time of
        an enqueue, and no route of the gateway uses it. The outermost layer is the one that OpenTelemetry's
        instrumentation expects.
        """
        return ServerErrorMiddleware(AdmissionMiddleware(self.router, self._dependencies))


def create_app(dependencies: GatewayDependencies, *, with_service: bool = True) -> FastAPI:
    """Return the gateway. The caller opens and closes its ``dependencies``.

    Without ``with_service``, health and metrics are left to ``create_service_app``.
    """
    app = GatewayApplication(dependencies)
    auditor = dependencies.auditor
    # The router tries routes in this order.
    EnqueueRoutes(dependencies.manager, dependencies.limits.max_task_text).add_to(app.router)
    TaskRoutes(dependencies.records, auditor).add_to(app.router)
    QueueRoutes(dependencies.manager, auditor).add_to(app.router)
    ScheduleRoutes(dependencies.scheduling, auditor).add_to(app.router)
    DeadLetterRoutes(dependencies.dead_letters, auditor).add_to(app.router)
    RedriveRoutes(dependencies.dead_letters, auditor).add_to(app.router)
    DestinationRoutes(dependencies.destinations, auditor).add_to(app.router)
    AuditRoutes(auditor).add_to(app.router)
    if with_service:
        ServiceRoutes(dependencies.readiness, dependencies.render_metrics).add_to(app.router)
    DocumentRoutes(app).add_to(app.router)
    return app


def create_service_app(dependencies: GatewayDependencies) -> FastAPI:
    """Return an application with the health and metrics of the process alone, for a port of its own."""
    app = GatewayApplication(dependencies)
    ServiceRoutes(dependencies.readiness, dependencies.render_metrics).add_to(app.router)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
