"""Routes of the API's documentation, for people and for programs."""

from functools import partial

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import Response

from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.gateway.answers import JSON
from mcp_queue.gateway.server.request import GatewayRequest
from mcp_queue.gateway.server.routing import add_route


class DocumentRoutes:
    """``/openapi.json`` and ``/docs``."""

    def __init__(self, app: FastAPI) -> None:
        """Describe ``app``."""
        self._app = app
        self._openapi: bytes | None = None

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        add = partial(add_route, router, view=None, refused=(), include_in_schema=False)
        add("GET /openapi.json", self.get_openapi)
        add("GET /docs", self.get_docs)

    async def get_openapi(self, _: GatewayRequest) -> Response:
        """Return the OpenAPI document."""
        if self._openapi is None:
            # Once: it is large, and anybody may ask for it.
            self._openapi = dumps(self._app.openapi()).encode()
        return Response(self._openapi, media_type=JSON)

    async def get_docs(self, _: GatewayRequest) -> Response:
        """Return Swagger UI."""
        return get_swagger_ui_html(openapi_url="openapi.json", title=self._app.title)
