"""Describes settings as text: their defaults, limits and values."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import PurePath
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from mcp_queue.config.declaration import Setting
from mcp_queue.config.schema.values import format_duration


def facts_of(setting: Setting) -> str:
    """Return unit and limits, such as ``bytes, at least 1024``; empty if there are none."""
    return ", ".join(fact for fact in (setting.env_var.unit, _limits_of(setting)) if fact)


def default_of(setting: Setting) -> str:
    """Return the default as a variable would hold it, empty where it is not a plain value."""
    if setting.field.default_factory is not None:
        return setting.env_var.default
    return "" if setting.field.default in {None, ()} else value_text(setting.field.default)


def value_text(value: object) -> str:
    """Return a value as a variable would hold it."""
    match value:
        case timedelta():
            return format_duration(value)
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(value_text(item) for item in value)
        case PurePath():
            return value.as_posix()
        case _:
            return str(value)


def _limits_of(setting: Setting) -> str:
    """Return the allowed values, such as ``1 to 10``; empty where nothing limits them."""
    if get_origin(setting.field.annotation) is Literal:
        return "one of " + ", ".join(get_args(setting.field.annotation))
    limits = [*setting.field.metadata, *_constraints(setting.field.annotation)]
    least = next((limit.ge for limit in limits if hasattr(limit, "ge")), None)
    most = next((limit.le for limit in limits if hasattr(limit, "le")), None)
    if least is None:
        return "" if most is None else f"at most {value_text(most)}"
    return f"at least {value_text(least)}" if most is None else f"{value_text(least)} to {value_text(most)}"


def _constraints(annotation: object) -> Iterator[object]:
    for argument in get_args(annotation):
        yield from argument.metadata if isinstance(argument, FieldInfo) else _constraints(argument)
