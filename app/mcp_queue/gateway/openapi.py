"""Writes the OpenAPI document, with what FastAPI cannot know about routes that read their requests themselves."""

from typing import Any

import yaml
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mcp_queue.gateway.problems import ProblemView
from mcp_queue.gateway.server.documentation import REFERENCE, SECURITY_SCHEMES
from mcp_queue.gateway.server.routing import RawRoute


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
    routes = (route for route in app.routes if isinstance(route, RawRoute))
    models: set[type[BaseModel]] = {ProblemView, *(route.body.model for route in routes if route.body is not None)}
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
    schemas = {**result["components"]["schemas"], **definitions["$defs"]}
    result["components"]["schemas"] = dict(sorted(schemas.items()))
    result["components"]["securitySchemes"] = {name: dict(scheme) for name, scheme in SECURITY_SCHEMES.items()}
    return result


def openapi_yaml(app: FastAPI) -> str:
    """Return the OpenAPI document of ``app`` as YAML; the same app gives the same text."""
    return yaml.safe_dump(app.openapi(), sort_keys=False, allow_unicode=True, width=120)
