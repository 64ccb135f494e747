"""Merges the environment, the YAML file and the defaults into one validated document."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from pydantic import ValidationError

from mcp_queue.config.declaration import Section, settings_of
from mcp_queue.config.loading.sources import ParsedFile, RawSettings, read_environment, read_file
from mcp_queue.config.loading.validation import problems_of
from mcp_queue.config.schema.document import ClientSection, Document, EnvironmentSection, every_setting
from mcp_queue.domain.errors import ConfigError

_Model = TypeVar("_Model", bound=Section)


@dataclass(frozen=True, slots=True)
class LayeredConfig:
    """The validated document, and where its values come from.

    ``origins`` maps the path of each value from the environment to its variable; ``used`` are the variables that the
    file refers to.
    """

    environment: EnvironmentSection
    document: Document
    origins: Mapping[tuple[str, ...], str]
    used: frozenset[str] = frozenset()

    def key(self, *path: str) -> str:
        """Return the name of the setting at ``path`` for people: its variable if the environment has set it."""
        return self.origins.get(path, ".".join(path))


def read_client(environ: Mapping[str, str]) -> ClientSection:
    """Return the settings of the client commands.

    Raises:
        ConfigError: a value is not valid.

    """
    client, _ = _read_section(ClientSection, environ)
    return client


def read_layers(environ: Mapping[str, str], fallback: Mapping[str, str]) -> LayeredConfig:
    """Read the environment and the file that it names; ``fallback`` holds variables that both may override.

    Raises:
        ConfigError: a value is not valid, a key is unknown, or the file cannot be read.

    """
    environment, bootstrap = _read_section(EnvironmentSection, environ)
    file = read_file(environment.config, environ) if environment.config else ParsedFile({})
    overrides = read_environment(settings_of(Document), environ)
    document = _document(overrides, file, read_environment(settings_of(Document), fallback))
    return LayeredConfig(environment, document, {**overrides.origins, **bootstrap.origins}, file.variables)


def _read_section(section: type[_Model], environ: Mapping[str, str]) -> tuple[_Model, RawSettings]:
    raw = read_environment(settings_of(section), environ)
    try:
        return section.model_validate(raw.values), raw
    except ValidationError as error:
        raise ConfigError(problems_of(error, section, raw.values, raw.origins)) from error


def _document(overrides: RawSettings, file: ParsedFile, fallback: RawSettings) -> Document:
    if problems := list(_lost_sections(file.values, overrides.values, fallback.values)):
        raise ConfigError(problems)
    values = _merged(_merged(fallback.values, file.values), overrides.values)
    try:
        return Document.model_validate(values)
    except ValidationError as error:
        raise ConfigError(problems_of(error, Document, file.values, overrides.origins)) from error


def _merged(weaker: Mapping[str, object], stronger: Mapping[str, object]) -> dict[str, object]:
    """Return ``weaker`` overridden by ``stronger``, section by section."""
    merged = {**weaker, **stronger}
    for name, above in stronger.items():
        below = weaker.get(name)
        if isinstance(above, Mapping) and isinstance(below, Mapping):
            merged[name] = _merged(below, above)
    return merged


def _lost_sections(values: Mapping[str, object], *others: object, path: str = "") -> Iterator[str]:
    """Yield a line for each section that is a plain value in the file: merging it with ``others`` would lose one."""
    for name, value in values.items():
        below = [other[name] for other in others if isinstance(other, Mapping) and isinstance(other.get(name), Mapping)]
        if below and not isinstance(value, Mapping):
            yield f"{path}{name}: expected a mapping"
        elif isinstance(value, Mapping):
            yield from _lost_sections(value, *below, path=f"{path}{name}.")


_PREFIXES = ("QUEUE_", "SQS_", "GATEWAY_", "CONSUMER_", "CALLBACK_", "EMBEDDING_", "LEDGER_", "DEAD_LETTER_", "LOG_",
             "MCP_QUEUE_", "MAX_", "SHUTDOWN_")  # fmt: skip
_SIMILAR = 0.85


def misspelt_variables(names: Iterable[str]) -> list[str]:
    """Return a warning for each of ``names`` that is not a variable of ours, but similar to one."""
    known = [variable for setting in every_setting() for variable in setting.env_var.names]
    lines: list[str] = []
    for name in sorted(names):
        close = get_close_matches(name, known, n=1, cutoff=_SIMILAR) if name.startswith(_PREFIXES) else []
        if close and name not in known:
            lines.append(f"{name} is no setting; did you mean {close[0]}?")
    return lines
