"""What the settings say about themselves: the example file, and the values that count."""

import textwrap
from collections.abc import Iterator
from datetime import timedelta
from pathlib import PurePath
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mcp_queue.config.declaration import Knob, Setting, settings_of
from mcp_queue.config.loading.layers import Layers, every_setting
from mcp_queue.config.schema.values import format_duration, hide_credentials
from mcp_queue.config.settings import Effective

HIDDEN = "****"
_HEAD = """\
# Every setting with its default. Remove the # before what you change, then start with
#   set -a; . ./.env; set +a; make run
# The YAML file that QUEUE_CONFIG names has the setting at the key in brackets; what is set here beats the file.
# Durations are seconds, or numbers with units: 100ms, 90s, 5m, 1h30m, 7d. Lists are separated by commas.
"""


def env_example() -> str:
    """Return the text of ``.env.example``."""
    return _HEAD + "".join(f"\n{_example(setting)}\n" for setting in every_setting())


def _example(setting: Setting) -> str:
    knob, default = setting.knob, default_of(setting)
    lines = textwrap.wrap(knob.description, 110, initial_indent="# ", subsequent_indent="# ")
    if facts := ", ".join(fact for fact in (knob.unit, limits_of(setting)) if fact):
        lines.append(f"# {facts[0].upper()}{facts[1:]}.")
    if knob.default not in {"", default}:
        lines.append(f"# Default: {knob.default}.")
    if len(setting.path) > 1:
        lines.append(f"# [{setting.key}]")
    return "\n".join([*lines, f"#{knob.variable}={default}"])


def default_of(setting: Setting) -> str:
    """Return the default as it would be written, empty where it is not a plain value."""
    if setting.field.default_factory is not None:
        return setting.knob.default
    return "" if setting.field.default in {None, ()} else _text(setting.field.default)


def limits_of(setting: Setting) -> str:
    """Return what values are allowed, such as ``1 to 10``, empty where nothing limits them."""
    if get_origin(setting.field.annotation) is Literal:
        return "one of " + ", ".join(get_args(setting.field.annotation))
    limits = [*setting.field.metadata, *_constraints(setting.field.annotation)]
    least = next((limit.ge for limit in limits if hasattr(limit, "ge")), None)
    most = next((limit.le for limit in limits if hasattr(limit, "le")), None)
    if least is None:
        return "" if most is None else f"at most {_text(most)}"
    return f"at least {_text(least)}" if most is None else f"{_text(least)} to {_text(most)}"


def _constraints(annotation: object) -> Iterator[object]:
    for argument in get_args(annotation):
        yield from argument.metadata if isinstance(argument, FieldInfo) else _constraints(argument)


def effective(layers: Layers) -> tuple[Effective, ...]:
    """Return every setting of the processes as it counts, with secrets hidden."""
    found: list[Effective] = []
    for model in (layers.environment, layers.document):
        for setting in settings_of(type(model)):
            value, written = _look_up(model, setting)
            origin = layers.origins.get(setting.path, "file" if written else "default")
            found.append(Effective(setting.key, setting.knob.variable, _shown(value, setting.knob), origin))
    return tuple(found)


def _look_up(model: BaseModel, setting: Setting) -> tuple[object, bool]:
    """Return the value of ``setting``, and whether it was written anywhere."""
    value: object = model
    written = False
    for name in setting.path:
        assert isinstance(value, BaseModel)
        written = bool({name, setting.knob.follows} & value.model_fields_set)
        value = getattr(value, name)
    return value, written


def _shown(value: object, knob: Knob) -> str:
    if value in {None, ()}:
        return knob.default or "none"
    return HIDDEN if knob.secret else hide_credentials(_text(value))


def _text(value: object) -> str:
    match value:
        case timedelta():
            return format_duration(value)
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(_text(item) for item in value)
        case PurePath():
            return value.as_posix()
        case _:
            return str(value)
