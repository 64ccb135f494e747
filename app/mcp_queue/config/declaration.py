"""Declares settings: one annotated field holds a setting's variable, type, bounds, default and description."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class EnvVar:
    """The environment variable of a field, with the field's documentation.

    ``aliases`` are read if ``name`` is unset. ``default`` describes a default that is not a plain value; if it depends
    on another key of the section, ``follows`` names that key.
    """

    name: str
    description: str
    unit: str = ""
    default: str = ""
    secret: bool = False
    aliases: tuple[str, ...] = ()
    follows: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every variable that sets the field, the strongest first."""
        return (self.name, *self.aliases)


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors, so no misspelt one is ignored."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        str_strip_whitespace=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """A field with an environment variable; ``path`` holds the names of its sections and its own, as in the file."""

    path: tuple[str, ...]
    env_var: EnvVar
    field: FieldInfo

    @property
    def key(self) -> str:
        """The path with dots, as documentation and messages write it."""
        return ".".join(self.path)


def settings_of(section: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield every setting in ``section`` and below it, in the order of declaration."""
    for name, field in section.model_fields.items():
        env_var = next((item for item in field.metadata if isinstance(item, EnvVar)), None)
        inner = field.annotation
        if env_var is not None:
            yield Setting((*path, name), env_var, field)
        elif isinstance(inner, type) and issubclass(inner, Section):
            yield from settings_of(inner, (*path, name))


def element_type(section: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the section type that the field ``name`` holds one or many of; None for plain values."""
    field = section.model_fields.get(name)
    return next((item for item in _types(field.annotation) if issubclass(item, Section)), None) if field else None


def _types(annotation: object) -> Iterator[type[object]]:
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)
