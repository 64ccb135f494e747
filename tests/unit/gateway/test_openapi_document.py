"""The OpenAPI document."""

import yaml
from openapi_spec_validator import validate

from mcp_queue.gateway.openapi import openapi_yaml
from mcp_queue.gateway.problems import STATUSES
from tests.support.gateway import GatewayKit, operations


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
