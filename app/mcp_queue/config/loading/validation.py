"""Turns validation errors into lines for people, each beginning with the key."""

from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mcp_queue.config.declaration import element_type
from mcp_queue.config.loading.interpolation import label
from mcp_queue.config.schema.values import format_duration

_Path = tuple[str | int, ...]

#: Mistakes in numbers and names. Only their messages show the value: any other may be a secret.
_SHOWN = frozenset({"bool_parsing", "bool_type", "enum", "float_parsing", "int_from_float", "int_parsing", "int_type",
                    "literal_error"})  # fmt: skip


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    values: Mapping[str, object],
    origins: Mapping[tuple[str, ...], str],
) -> list[str]:
    """Return one line for each mistake in ``values``; ``origins`` maps paths to environment variables."""
    return [
        f"{_key(details['loc'], values, origins)}: {_message(details, model)}"
        for details in error.errors(include_url=False)
        # Follows from another mistake, which has its own line.
        if details["type"] != "default_factory_not_called"
    ]


def _key(path: _Path, values: object, origins: Mapping[tuple[str, ...], str]) -> str:
    variable = next((name for place, name in origins.items() if path[: len(place)] == place), None)
    if variable is not None:
        return variable
    text = ""
    for part in path:
        if isinstance(values, Mapping):
            text += f".{part}" if text else str(part)
            values = values.get(part)
        elif isinstance(values, list | tuple) and isinstance(part, int):
            values = values[part]
            text += f"[{label(values, part)}]"
        else:  # the rest names types, not keys
            break
    return text


def _message(details: ErrorDetails, model: type[BaseModel]) -> str:
    context, given = details.get("ctx", {}), details["input"]
    shown = f", not {format_duration(given) if isinstance(given, timedelta) else repr(given)}"
    match details["type"]:
        case "extra_forbidden":
            message = f"there is no such key{_suggestion(details['loc'], model)}"
        case "value_error":
            message = str(context["error"])
        case "missing":
            message = "is missing"
        case "model_type" | "dict_type" | "mapping_type":
            message = "expected a mapping"
        case "string_too_short":
            message = "is empty"
        case "greater_than_equal":
            message = f"expected at least {context['ge']}{shown}"
        case "less_than_equal":
            message = f"expected at most {context['le']}{shown}"
        case kind:
            message = details["msg"].replace("Input should be", "expected").partition(", unable")[0]
            message += shown if kind in _SHOWN else ""
    return message


def _suggestion(path: _Path, model: type[BaseModel]) -> str:
    section: type[BaseModel] | None = model
    for part in path[:-1]:
        section = section if isinstance(part, int) or section is None else element_type(section, part)
    names = list(section.model_fields) if section else []
    close = get_close_matches(str(path[-1]), names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(names)}"
