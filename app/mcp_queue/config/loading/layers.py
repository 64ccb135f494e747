"""Lays the environment over the file over the defaults."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource

from mcp_queue.config.declaration import Section, Setting, settings_of
from mcp_queue.config.loading.sources import File, Source, read_environment, read_file
from mcp_queue.config.loading.validation import problems_of
from mcp_queue.config.schema.document import Client, Document, Environment
from mcp_queue.domain.errors import ConfigError

_Model = TypeVar("_Model", bound=Section)


@dataclass(frozen=True, slots=True)
class Layers:
    """The validated document and where its values come from.

    ``origins`` maps the path of each value that the environment has set to its variable; ``used`` are the variables
    that the file places itself.
    """

    environment: Environment
    document: Document
    origins: Mapping[tuple[str, ...], str]
    used: frozenset[str] = frozenset()

    def key(self, *path: str) -> str:
        """Return how people know the setting at ``path``: by its variable where the environment has set it."""
        return self.origins.get(path, ".".join(path))


def every_setting() -> tuple[Setting, ...]:
    """Return every setting that has a variable, in the order in which they are documented."""
    return tuple(setting for model in (Environment, Document, Client) for setting in settings_of(model))


def read_client(environ: Mapping[str, str]) -> Client:
    """Return what the client commands need.

    Raises:
        ConfigError: a value is none of its kind.

    """
    client, _ = _read_section(Client, environ)
    return client


def read_layers(environ: Mapping[str, str], fallback: Mapping[str, str]) -> Layers:
    """Read the environment, and the file that it names; ``fallback`` counts where neither says anything.

    Raises:
        ConfigError: a value is none of its kind, a key is unknown, or the file cannot be read.

    """
    environment, bootstrap = _read_section(Environment, environ)
    file = read_file(environment.config, environ) if environment.config else File({})
    overrides = read_environment(settings_of(Document), environ)
    document = _document(overrides, file, read_environment(settings_of(Document), fallback))
    return Layers(environment, document, {**overrides.origins, **bootstrap.origins}, file.variables)


def _read_section(section: type[_Model], environ: Mapping[str, str]) -> tuple[_Model, Source]:
    source = read_environment(settings_of(section), environ)
    try:
        return section.model_validate(source.values), source
    except ValidationError as error:
        raise ConfigError(problems_of(error, section, source.values, source.origins)) from error


def _document(overrides: Source, file: File, fallback: Source) -> Document:
    # The strongest first. These are the only sources: the process's own environment is not looked at here.
    if flat := list(_flattened(file.values, overrides.values, fallback.values)):
        raise ConfigError(flat)
    layers = (overrides.values, file.values, fallback.values)
    sources = tuple(InitSettingsSource(Document, values) for values in layers)
    try:
        return Document(_build_sources=(sources, {}))
    except ValidationError as error:
        raise ConfigError(problems_of(error, Document, file.values, overrides.origins)) from error


def _flattened(values: Mapping[str, object], *others: object, path: str = "") -> Iterator[str]:
    """Yield a line for each section that the file has as something else: merged with ``others`` it would vanish."""
    for name, value in values.items():
        below = [other[name] for other in others if isinstance(other, dict) and isinstance(other.get(name), dict)]
        if below and not isinstance(value, dict):
            yield f"{path}{name}: expected a mapping"
        elif isinstance(value, dict):
            yield from _flattened(value, *below, path=f"{path}{name}.")


_PREFIXES = ("QUEUE_", "SQS_", "GATEWAY_", "CONSUMER_", "CALLBACK_", "EMBEDDING_", "LEDGER_", "DEAD_LETTER_", "LOG_",
             "MCP_QUEUE_", "MAX_", "SHUTDOWN_")  # fmt: skip
_SIMILAR = 0.85


def misspelt_variables(names: Iterable[str]) -> list[str]:
    """Return a line for each of ``names`` that is no variable of ours but looks much like one."""
    known = [variable for setting in every_setting() for variable in setting.knob.variables]
    lines: list[str] = []
    for name in sorted(names):
        close = get_close_matches(name, known, n=1, cutoff=_SIMILAR) if name.startswith(_PREFIXES) else []
        if close and name not in known:
            lines.append(f"{name} is no setting; did you mean {close[0]}?")
    return lines
