"""Reads raw settings from the YAML file and the environment."""

import json
import os
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from mcp_queue.config.declaration import Setting
from mcp_queue.config.loading.interpolation import Interpolation
from mcp_queue.domain.errors import ConfigError

# Characters of a document, about.
_LONGEST = 10_000_000


def environment() -> dict[str, str]:
    """Return a copy of the process's environment."""
    return dict(os.environ)  # noqa: TID251  # the one place that reads it


@dataclass(frozen=True, slots=True)
class RawSettings:
    """Values in the shape of the document, not validated yet.

    ``origins`` maps the path of each value to the environment variable that it came from.
    """

    values: dict[str, object]
    origins: Mapping[tuple[str, ...], str] = field(default_factory=dict)


def read_environment(settings: Iterable[Setting], environ: Mapping[str, str]) -> RawSettings:
    """Return the values of ``settings`` in ``environ``; an empty variable counts as unset."""
    values: dict[str, object] = {}
    origins: dict[tuple[str, ...], str] = {}
    for setting in settings:
        variable = next((name for name in setting.env_var.names if environ.get(name, "").strip()), None)
        if variable is not None:
            _put(values, setting.path, environ[variable].strip())
            origins[setting.path] = variable
    return RawSettings(values, origins)


def _put(values: dict[str, object], path: tuple[str, ...], value: object) -> None:
    for name in path[:-1]:
        inner = values.setdefault(name, {})
        assert isinstance(inner, dict)
        values = inner
    values[path[-1]] = value


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """The parsed file, and the variables that it refers to."""

    values: dict[str, object]
    variables: frozenset[str] = frozenset()


def read_file(path: Path, environ: Mapping[str, str]) -> ParsedFile:
    """Read the YAML file at ``path`` and fill ``environ`` into its texts.

    Raises:
        ConfigError: it cannot be read, is no YAML mapping, or names a variable that is unset or empty.

    """
    interpolation = Interpolation(environ)
    values = _without_nulls(interpolation.apply(parse_yaml(path, "QUEUE_CONFIG")) or {})
    if interpolation.problems:
        raise ConfigError(interpolation.problems)
    if not isinstance(values, dict):
        raise ConfigError([f"QUEUE_CONFIG: {path} holds no mapping such as 'queue: …'"])
    return ParsedFile(values, frozenset(interpolation.used))


def _without_nulls(value: object) -> object:
    """Drop keys without a value, such as a section with comments only: they mean the default."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def parse_yaml(path: Path, variable: str) -> object:
    """Return the content of the YAML file at ``path``; messages name ``variable``, which holds the path.

    Raises:
        ConfigError: it cannot be read, or is no YAML.

    """
    try:
        text = path.read_text("utf-8")
        _check_aliases(text)
        value: object = yaml.load(text, _StrictLoader)  # noqa: S506  # a SafeLoader, only stricter
        json.dumps(value, default=str, skipkeys=True)  # raises ValueError for an alias of itself
    except OSError as error:
        raise ConfigError([f"{variable}: {path} cannot be read ({error.strerror})"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{variable}: {path} is not UTF-8"]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise ConfigError([f"{variable}: {path}{place} {error.problem or error.context}"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{variable}: {path} is no YAML"]) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"{variable}: {path} holds an alias of itself, or is nested too deeply"]) from error
    return value


def _check_aliases(text: str) -> None:
    """Raise a ``YAMLError`` for a document that is too long with its aliases written out; few lines suffice."""
    lengths: dict[str | None, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    length = 0
    for event in yaml.parse(text, _StrictLoader):
        before, length = length, length + 1
        if isinstance(event, yaml.AliasEvent):
            length += lengths.get(event.anchor, 0)
        elif isinstance(event, yaml.ScalarEvent):
            length += len(event.value)
            lengths[event.anchor] = length - before
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, before))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, begun = open_nodes.pop()
            lengths[anchor] = length - begun
        if length > _LONGEST:
            raise yaml.MarkedYAMLError(problem="too long, with its aliases written out")


class _StrictLoader(yaml.SafeLoader):
    """Refuses duplicate keys, of which YAML would silently drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:  # noqa: FBT001, FBT002  # yaml's own signature
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)
