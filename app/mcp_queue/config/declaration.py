"""How a setting is declared: one annotated field holds its place, variable, type, bounds, default and description."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Knob:
    """What a field of a section says about itself.

    ``also`` are variables that are read where ``variable`` is unset. ``default`` describes a default that is no plain
    value; it may follow another key of the section, ``follows``.
    """

    variable: str
    description: str
    unit: str = ""
    default: str = ""
    secret: bool = False
    also: tuple[str, ...] = ()
    follows: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable that sets this, the strongest first."""
        return (self.variable, *self.also)


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused, so that a misspelt one never passes silently."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        str_strip_whitespace=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """A knob and where it stands: ``path`` leads to its value through the sections, as in the file."""

    path: tuple[str, ...]
    knob: Knob
    field: FieldInfo

    @property
    def key(self) -> str:
        """The path as people write it."""
        return ".".join(self.path)


def settings_of(section: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield every setting in ``section`` and below it, in the order of their declaration."""
    for name, field in section.model_fields.items():
        knob = next((item for item in field.metadata if isinstance(item, Knob)), None)
        inner = field.annotation
        if knob is not None:
            yield Setting((*path, name), knob, field)
        elif isinstance(inner, type) and issubclass(inner, Section):
            yield from settings_of(inner, (*path, name))


def element(section: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the section that the field ``name`` of ``section`` holds, one or many; None for plain values."""
    field = section.model_fields.get(name)
    return next((item for item in _types(field.annotation) if issubclass(item, Section)), None) if field else None


def _types(annotation: object) -> Iterator[type[object]]:
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)
