"""Reads the JSON that is given as an option."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mcp_queue.domain.task import JsonValue


def json_of(text: str, option: str) -> "JsonValue":
    """Return ``text``, the value of ``option``, as JSON.

    Raises:
        BadParameter: it is not JSON.

    """
    from mcp_queue.domain.errors import MalformedJsonError
    from mcp_queue.domain.formats.strict_json import loads

    try:
        return loads(text)
    except MalformedJsonError as error:
        message = f"is no JSON: {error}"
        raise typer.BadParameter(message, param_hint=option) from error
