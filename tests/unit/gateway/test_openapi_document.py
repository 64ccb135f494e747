"""The OpenAPI document."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from openapi_spec_validator import validate

from mcp_queue.gateway.openapi import openapi_yaml
from mcp_queue.gateway.problems import STATUSES
from mcp_queue.services.schedules.schedules import NewSchedule
from tests.support.gateway import GatewayKit
from tests.support.http import call
from tests.support.ledger import ledger_harness
from tests.support.ledger_databases import sqlite_url


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return method, path and description of every operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_document_is_valid(kit: GatewayKit) -> None:
    """Tools that read OpenAPI can read it."""
    validate(kit.app.openapi())


def test_yaml_says_the_same_each_time(kit: GatewayKit) -> None:
    """Two gateways give the same text, which holds what the gateway serves as JSON."""
    text = openapi_yaml(kit.app)
    assert text == openapi_yaml(GatewayKit().app)
    assert kit.app.openapi() == yaml.safe_load(text)


def test_every_operation_is_told_apart(kit: GatewayKit) -> None:
    """Each has a summary, a description, a tag and an id of its own, from which clients are generated."""
    found = list(operations(kit.app.openapi()))
    assert len(found) == len({operation["operationId"] for _, _, operation in found})
    assert all(operation["summary"] and operation["description"] and operation["tags"] for _, _, operation in found)


def test_every_refusal_is_a_problem_of_the_table(kit: GatewayKit) -> None:
    """Each status from 400 on has the problem's media type and names its codes."""
    for _, _, operation in operations(kit.app.openapi()):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                codes = response["description"].replace("`", "").split(", ")
                assert [int(status)] * len(codes) == [STATUSES[code] for code in codes]
                assert ["application/problem+json"] == list(response["content"])


def _tries(path: str, operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Return path, headers and body of everything that Swagger UI offers to send."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            if "examples" not in parameter:
                return  # the id of something that is made first
            example = next(iter(parameter["examples"].values()))["value"]
            path = path.replace(f"{{{parameter['name']}}}", example)
    content = operation.get("requestBody", {}).get("content", {})
    shown = [(media_type, value) for media_type, body in content.items() for value in _values(body)]
    for media_type, value in shown:
        body = value if isinstance(value, str) else json.dumps(value)
        yield path, {"Content-Type": media_type}, body.encode()
    if not shown:
        yield path, {}, b""


def _values(body: dict[str, Any]) -> list[Any]:
    return [body["example"]] if "example" in body else [shown["value"] for shown in body["examples"].values()]


async def test_examples_work_unedited(tmp_path: Path) -> None:
    """What Swagger UI fills in can be sent as it is."""
    nightly = NewSchedule(cron="0 3 * * *", queue="tasks", task={"type": "echo"})
    async with sqlite_url(tmp_path) as url, ledger_harness(url) as harness:
        kit = GatewayKit(harness=harness)
        failed, tried = [], 0
        for method, template, operation in operations(kit.app.openapi()):
            for path, headers, body in _tries(template, operation):
                await kit.scheduling.put("nightly", nightly)
                answer = await call(kit.app, method, path, headers=headers, content=body)
                failed += [(method, path, answer.status)] if answer.status >= 300 else []
                tried += 1
    assert ([], True) == (failed, tried > 20)
