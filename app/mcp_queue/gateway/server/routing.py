"""Adds routes whose endpoints read the request themselves."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from mcp_queue.domain.errors import FieldError
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway.problems import Problem, RequestRefusedError
from mcp_queue.gateway.server.auth import check_queue, check_scope
from mcp_queue.gateway.server.documentation import RequestBody, refusals, security
from mcp_queue.gateway.server.request import GatewayRequest
from mcp_queue.services.enqueueing.validation import MAX_NAME, invalid


class RawRoute(APIRoute):
    """A route that FastAPI documents but does not serve: solving its dependencies takes longer than enqueueing a task.

    The endpoint gets a ``GatewayRequest`` and the path's parameters as text. Query parameters are refused, so that a
    misspelt option never passes silently. The caller needs the route's ``key_scope``, and has to reach the queue that
    the path names.
    """

    takes_query = False
    key_scope: KeyScope | None = None
    body: RequestBody | None = None

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["method"] not in (self.methods or ()):
            raise _method_not_allowed(scope)
        if scope["query_string"] and not self.takes_query:
            name = scope["query_string"].decode("latin-1").partition("=")[0][:MAX_NAME]
            raise invalid(FieldError(("query", name), "there is no such parameter"))
        request, parameters = GatewayRequest(scope, receive, send), scope["path_params"]
        check_scope(request.caller, self.key_scope or KeyScope.ADMIN)
        if "queue" in parameters:
            check_queue(request.caller, parameters["queue"])
        response = await self.endpoint(request, **parameters)
        await response(scope, receive, send)


def add_route(
    router: APIRouter,
    operation: str,
    endpoint: Callable[..., Awaitable[Response]],
    *,
    view: type[BaseModel] | None,
    refused: Iterable[str],
    scope: KeyScope | None = None,
    body: RequestBody | None = None,
    **documented: Any,
) -> None:
    """Let ``endpoint`` answer an ``operation`` such as ``GET /healthz`` with a ``view``.

    ``refused`` are the codes of the problems that it may answer with. ``scope`` is what a key needs. ``documented`` is
    passed on to FastAPI.
    """
    method, path = operation.split(" ")
    if view is not None:
        documented.setdefault("response_description", view.__doc__)
    extra = documented.pop("openapi_extra", {})
    if body is not None:
        extra = {"requestBody": body.described(), **extra}
    if scope is not None:
        extra = {"security": security(scope), **extra}
        refused = (*refused, "unauthenticated", "forbidden", "rate_limited")
    documented["responses"] = {**documented.get("responses", {}), **refusals(*refused)}
    documented.setdefault("route_class_override", RawRoute)
    router.add_api_route(path, endpoint, methods=[method], response_model=view, openapi_extra=extra, **documented)
    route = router.routes[-1]
    assert isinstance(route, RawRoute)
    route.key_scope, route.body = scope, body


def _method_not_allowed(scope: Scope) -> RequestRefusedError:
    """Return the refusal that names the methods of every route of the path: each route knows only its own."""
    methods = {
        method
        for route in scope["app"].routes
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
    if "GET" in methods:
        methods.add("HEAD")
    allowed = ", ".join(sorted(methods))
    problem = Problem(code="method_not_allowed", detail=f"this path knows {allowed}", headers={"Allow": allowed})
    return RequestRefusedError(problem)
