"""Writes ``docs/configuration.md``, the page that lists every setting."""

from collections.abc import Iterator

from mcp_queue.config.declaration import Section, Setting, element_type, settings_of
from mcp_queue.config.documentation.descriptions import default_of, facts_of
from mcp_queue.config.schema.document import Document, GatewaySection, every_setting
from mcp_queue.config.schema.queue_sections import QueueSection, SqsSection

_HEAD = """\
# Configuration

Generated from the settings by `mcp-queue config manual`; do not edit.

Environment beats file beats default. `QUEUE_CONFIG` names the YAML file, whose keys stand in the second column;
`mcp-queue config check` prints what counts, with secrets hidden, or one line for each mistake. In the file `${VAR}` and
`${VAR:-default}` are replaced; an unset or empty `${VAR}` stops the start. Durations are seconds, or numbers with the
units `ms`, `s`, `m`, `h`, `d`: `90s`, `1h30m`. Lists in variables are separated by commas.

| Variable | Key in the file | Default | Meaning |
|---|---|---|---|
"""
_PLACES: dict[type[Section], str] = {SqsSection: "queue.sqs", QueueSection: "queue", GatewaySection: "gateway"}
_LISTS: tuple[tuple[str, type[Section], str], ...] = (
    ("Queues", SqsSection, "queues"),
    ("Routes", QueueSection, "routes"),
    ("Destinations", QueueSection, "destinations"),
    ("Notifiers", QueueSection, "notifiers"),
    ("API keys", GatewaySection, "keys"),
)


def configuration_page() -> str:
    """Return the page, in Markdown."""
    in_file = {setting.env_var.name for setting in settings_of(Document)}
    rows = [_row(setting, in_file) for setting in every_setting()]
    return _HEAD + "".join(rows) + "".join(_lists())


def _row(setting: Setting, in_file: set[str]) -> str:
    env_var = setting.env_var
    key = f"`{setting.key}`" if env_var.name in in_file else ""
    facts = facts_of(setting)
    meaning = f"{env_var.description} ({facts})" if facts else env_var.description
    plain = default_of(setting)
    default = f"`{plain}`" if plain and plain != env_var.default else env_var.default
    return f"| `{env_var.name}` | {key} | {_cell(default)} | {_cell(meaning)} |\n"


def _lists() -> Iterator[str]:
    for title, section, name in _LISTS:
        entry = element_type(section, name)
        assert entry is not None, f"{name} is a list of sections"
        about = (entry.__doc__ or "").splitlines()[0]
        yield f"\n## {title}\n\n`{_PLACES[section]}.{name}`: {about}\n\n| Member | Meaning |\n|---|---|\n"
        for member, field in entry.model_fields.items():
            required = " Required." if field.is_required() else ""
            yield f"| `{member}` | {_cell(field.description or '')}{required} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
