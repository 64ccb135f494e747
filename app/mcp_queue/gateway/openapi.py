"""The OpenAPI document: what FastAPI cannot know of routes that read their requests themselves."""

from collections.abc import Mapping
from typing import Any

import yaml
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway import problems
from mcp_queue.gateway.resources.dead_letters.schemas import RedriveRequest
from mcp_queue.gateway.resources.schemas import NoMembers, ProblemView, PurgeRequest, TaskBatch
from mcp_queue.gateway.server.request import JSON
from mcp_queue.services.dead_letters.edits import DeadLetterEdits
from mcp_queue.services.enqueueing.request import NewTask
from mcp_queue.services.schedules.schedules import NewSchedule

_MODELS: tuple[type[BaseModel], ...] = (
    NewTask,
    TaskBatch,
    PurgeRequest,
    NoMembers,
    NewSchedule,
    DeadLetterEdits,
    RedriveRequest,
    ProblemView,
)
#: How schemas refer to each other.
REFERENCE = "#/components/schemas/{model}"
_SECURITY_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same in its own header."},
}
_RETRY_AFTER = {"description": "Seconds until the next try makes sense.", "schema": {"type": "integer"}}
_HEADERS: Mapping[int | str, Mapping[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "A key is needed, or another one.", "schema": {"type": "string"}}},
    429: {
        "Retry-After": _RETRY_AFTER,
        "RateLimit": {"description": "What is left to the key, if it has a rate.", "schema": {"type": "string"}},
        "RateLimit-Policy": {"description": "The rate of the key, if it has one.", "schema": {"type": "string"}},
    },
    503: {"Retry-After": _RETRY_AFTER},
}

#: What any request may be refused with.
ALWAYS = ("request_too_large", "unsupported_media_type", "invalid_task", "overloaded")


def refusals(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that may be refused with ``codes``, besides those of ``ALWAYS``."""
    by_status: dict[int | str, list[str]] = {}
    for code in sorted({*ALWAYS, *codes}):
        by_status.setdefault(problems.STATUSES[code], []).append(f"`{code}`")
    return {status: _refusal(status, ", ".join(by_status[status])) for status in sorted(by_status, key=str)}


def _refusal(status: int | str, description: str) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": description,
        "content": {problems.MEDIA_TYPE: {"schema": reference(ProblemView)}},
    }
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response


def security(scope: KeyScope) -> list[dict[str, list[str]]]:
    """Return the ways of coming in to a route that needs ``scope``."""
    return [{scheme: [scope.value]} for scheme in _SECURITY_SCHEMES]


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Return the schema that refers to ``model``."""
    return {"$ref": REFERENCE.format(model=model.__name__)}


def json_body(model: type[BaseModel], examples: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    """Return the ``requestBody`` of a route that reads ``model``; ``examples`` maps a summary to a value."""
    shown = {summary: {"summary": summary, "value": value} for summary, value in examples.items()}
    return {"required": required, "content": {JSON: {"schema": reference(model), "examples": shown}}}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of ``app``."""
    result = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        license_info=app.license_info,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    _, definitions = models_json_schema([(model, "validation") for model in _MODELS], ref_template=REFERENCE)
    schemas = result["components"]["schemas"]
    schemas.update(definitions["$defs"])
    result["components"]["schemas"] = dict(sorted(schemas.items()))
    result["components"]["securitySchemes"] = {name: dict(scheme) for name, scheme in _SECURITY_SCHEMES.items()}
    return result


def openapi_yaml(app: FastAPI) -> str:
    """Return the OpenAPI document of ``app`` for people and for comparison: the same app gives the same text."""
    return yaml.safe_dump(app.openapi(), sort_keys=False, allow_unicode=True, width=120)
