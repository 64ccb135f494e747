"""Reads query parameters by a model, which documents them too."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from mcp_queue.domain.errors import FieldError
from mcp_queue.gateway.server.documentation import REFERENCE
from mcp_queue.gateway.server.request import GatewayRequest
from mcp_queue.gateway.server.routing import RawRoute, add_route
from mcp_queue.services.enqueueing.validation import MAX_NAME, invalid, validated

Query = TypeVar("Query", bound=BaseModel)

_MOST_PARAMETERS = 20


class QueryRoute(RawRoute):
    """A route whose endpoint reads query parameters by ``read_query``."""

    takes_query = True


def add_query_route(
    router: APIRouter,
    operation: str,
    endpoint: Callable[..., Awaitable[Response]],
    *,
    query: type[BaseModel],
    view: type[BaseModel],
    refused: Iterable[str],
    **documented: Any,
) -> None:
    """Let ``endpoint`` answer an ``operation`` that takes the parameters of ``query``; see ``add_route``."""
    extra = {"parameters": list(_parameters(query))}
    documented |= {"openapi_extra": extra, "route_class_override": QueryRoute}
    add_route(router, operation, endpoint, view=view, refused=refused, **documented)


def read_query(request: GatewayRequest, model: type[Query]) -> Query:
    """Return the query parameters as ``model``.

    Raises:
        InvalidTaskError: they do not fit, one is given twice, or they are not UTF-8.

    """
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError as error:
        raise invalid(FieldError(("query",), "cannot be read")) from error
    members: dict[str, str] = {}
    for name, value in pairs:
        if name in members:
            raise invalid(FieldError(("query", name[:MAX_NAME]), "is there twice"))
        members[name] = value
    return validated(model, members, ("query",))


def _parameters(query: type[BaseModel]) -> Iterable[dict[str, Any]]:
    for name, member in query.model_json_schema(ref_template=REFERENCE)["properties"].items():
        described = {key: value for key, value in member.items() if key not in {"title", "description", "anyOf"}}
        # A parameter may be left out, but it is never null.
        options = [option for option in member.get("anyOf", ()) if option != {"type": "null"}]
        schema = {**described, **(options[0] if options else {})}
        if schema.get("default", ...) is None:
            del schema["default"]
        yield {"name": name, "in": "query", "description": member.get("description", ""), "schema": schema}
