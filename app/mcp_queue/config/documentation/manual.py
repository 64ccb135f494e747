"""The page of the documentation that lists every setting."""

from collections.abc import Iterator

from mcp_queue.config.declaration import Section, Setting, element, settings_of
from mcp_queue.config.documentation.reference import default_of, limits_of
from mcp_queue.config.loading.layers import every_setting
from mcp_queue.config.schema.document import Document, Gateway
from mcp_queue.config.schema.queue_sections import Queue, Sqs

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
_PLACES: dict[type[Section], str] = {Sqs: "queue.sqs", Queue: "queue", Gateway: "gateway"}
_LISTS: tuple[tuple[str, type[Section], str], ...] = (
    ("Queues", Sqs, "queues"),
    ("Routes", Queue, "routes"),
    ("Destinations", Queue, "destinations"),
    ("Notifiers", Queue, "notifiers"),
    ("API keys", Gateway, "keys"),
)


def configuration_page() -> str:
    """Return the page, in Markdown."""
    in_file = {setting.knob.variable for setting in settings_of(Document)}
    rows = [_row(setting, in_file) for setting in every_setting()]
    return _HEAD + "".join(rows) + "".join(_lists())


def _row(setting: Setting, in_file: set[str]) -> str:
    knob = setting.knob
    key = f"`{setting.key}`" if knob.variable in in_file else ""
    facts = ", ".join(fact for fact in (knob.unit, limits_of(setting)) if fact)
    meaning = f"{knob.description} ({facts})" if facts else knob.description
    plain = default_of(setting)
    default = f"`{plain}`" if plain and plain != knob.default else knob.default
    return f"| `{knob.variable}` | {key} | {_cell(default)} | {_cell(meaning)} |\n"


def _lists() -> Iterator[str]:
    for title, section, name in _LISTS:
        entry = element(section, name)
        assert entry is not None, f"{name} is a list of sections"
        about = (entry.__doc__ or "").splitlines()[0]
        yield f"\n## {title}\n\n`{_PLACES[section]}.{name}`: {about}\n\n| Member | Meaning |\n|---|---|\n"
        for member, field in entry.model_fields.items():
            required = " Required." if field.is_required() else ""
            yield f"| `{member}` | {_cell(field.description or '')}{required} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
