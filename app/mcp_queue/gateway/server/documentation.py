"""Describes routes in the OpenAPI document: their refusals, keys and request bodies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.gateway import problems
from mcp_queue.gateway.answers import JSON

#: How schemas refer to each other.
REFERENCE = "#/components/schemas/{model}"
#: The ways in which a request may carry its key.
SECURITY_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same in its own header."},
}
#: The codes of problems that any request may be refused with.
ALWAYS = ("request_too_large", "unsupported_media_type", "invalid_task", "overloaded")

_RETRY_AFTER = {"description": "Seconds until the next try makes sense.", "schema": {"type": "integer"}}
_HEADERS: Mapping[int | str, Mapping[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How to send a key.", "schema": {"type": "string"}}},
    429: {
        "Retry-After": _RETRY_AFTER,
        "RateLimit": {"description": "What is left of the key's rate, if it has one.", "schema": {"type": "string"}},
        "RateLimit-Policy": {"description": "The key's rate, if it has one.", "schema": {"type": "string"}},
    },
    503: {"Retry-After": _RETRY_AFTER},
}


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The JSON body of a request.

    ``examples`` maps a summary to a value, ``other_forms`` a media type to how the document describes it.
    """

    model: type[BaseModel]
    examples: Mapping[str, Any] = field(default_factory=dict)
    required: bool = True
    other_forms: Mapping[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """Return it as the document has it."""
        shown = {summary: {"summary": summary, "value": value} for summary, value in self.examples.items()}
        content = {JSON: {"schema": reference(self.model), "examples": shown}, **self.other_forms}
        return {"required": self.required, "content": content}


def refusals(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that may be refused with ``codes``, besides those of ``ALWAYS``."""
    by_status: dict[int | str, list[str]] = {}
    for code in sorted({*ALWAYS, *codes}):
        by_status.setdefault(problems.STATUSES[code], []).append(f"`{code}`")
    return {status: _refusal(status, ", ".join(by_status[status])) for status in sorted(by_status, key=str)}


def security(scope: KeyScope) -> list[dict[str, list[str]]]:
    """Return the ``security`` of a route that needs ``scope``."""
    return [{scheme: [scope.value]} for scheme in SECURITY_SCHEMES]


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Return the schema that refers to ``model``."""
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _refusal(status: int | str, description: str) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": description,
        "content": {problems.MEDIA_TYPE: {"schema": reference(problems.ProblemView)}},
    }
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response
