"""Resolves the queues of the configuration: every default filled in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from mcp_queue.config.loading.queue_rules import DEFAULT_DEAD_LETTER_QUEUE, Catalogue, kind_of
from mcp_queue.config.schema.entries import MAX_SQS_BYTES, QueueEntry
from mcp_queue.domain.queues import (
    FIFO_RECEIVES_PER_ATTEMPT,
    Backend,
    FailurePolicy,
    LevelPolicy,
    QueueKind,
    QueueSpec,
    fifo_receives_needed,
)

#: The queues where the file names none.
BUILT_IN = (
    QueueEntry(name="tasks", type=QueueKind.STANDARD),
    QueueEntry(name="priority-tasks", type=QueueKind.FIFO),
    QueueEntry(name="dlq"),
)
_MAX_RECEIVES = 3
#: Every wait of a FIFO message is a receive, so that far more of them are innocent.
_MAX_FIFO_RECEIVES = 100

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What queues take that name nothing themselves.

    ``forced`` maps each field that the environment has set to its variable: there the default beats the file.
    """

    visibility_timeout: timedelta
    max_receive_count: int | None
    max_retries: int
    max_task_bytes: int
    forced: Mapping[str, str] = field(default_factory=dict)

    def choose(self, name: str, written: _Value | None, default: _Value) -> _Value:
        """Return the value of the field ``name`` that counts."""
        return default if written is None or name in self.forced else written


def resolve_queues(catalogue: Catalogue, defaults: Defaults) -> tuple[QueueSpec, ...]:
    """Return the queues of a catalogue without contradictions, in its order."""
    return tuple(_spec(entry, catalogue, defaults) for entry in catalogue.entries)


def _spec(entry: QueueEntry, catalogue: Catalogue, defaults: Defaults) -> QueueSpec:
    kind = kind_of(entry)
    parent = catalogue.parents.get(entry.name)
    heir = _inherit(entry, parent) if parent else entry
    dead_letter_queue = heir.dead_letter_queue or DEFAULT_DEAD_LETTER_QUEUE
    receives = defaults.max_receive_count or (_MAX_FIFO_RECEIVES if kind is QueueKind.FIFO else _MAX_RECEIVES)
    return QueueSpec(
        name=entry.name,
        kind=kind,
        backend=_backend(entry, catalogue),
        public_name=parent.name if parent else entry.name,
        dead_letter_queue=None if entry.name in catalogue.dead_letter_queues else dead_letter_queue,
        visibility_timeout=defaults.choose("visibility_timeout", heir.visibility_timeout, defaults.visibility_timeout),
        max_receive_count=defaults.choose("max_receive_count", heir.max_receive_count, receives),
        max_retries=defaults.choose("max_retries", heir.max_retries, defaults.max_retries),
        max_depth=entry.max_depth,
        max_task_bytes=_max_task_bytes(heir, defaults),
        message_group_id=(entry.message_group_id or "default") if kind is QueueKind.FIFO else None,
        failure_policy=entry.failure_policy or FailurePolicy.BLOCK,
        levels=dict(sorted((entry.levels or {}).items(), reverse=True)),
        level_policy=entry.level_policy or LevelPolicy.STRICT,
        url=entry.url,
        payload_bucket=entry.payload_bucket,
        cloudwatch_age=bool(entry.cloudwatch_age),
    )


def _inherit(level: QueueEntry, parent: QueueEntry) -> QueueEntry:
    shared = ("visibility_timeout", "max_receive_count", "max_retries", "max_task_bytes")
    inherited = {name: getattr(parent, name) for name in shared if getattr(level, name) is None}
    return level.model_copy(update={**inherited, "dead_letter_queue": parent.dead_letter_queue})


def _backend(entry: QueueEntry, catalogue: Catalogue) -> Backend:
    """Return where the queue lies; a priority queue whose levels differ is called by its level 0."""
    ground = (entry.levels or {}).get(0, entry.name)
    url = next(item.url for item in catalogue.entries if item.name == ground)
    return Backend.SQLITE if url is None else Backend.SQS


def _max_task_bytes(entry: QueueEntry, defaults: Defaults) -> int:
    size = defaults.choose("max_task_bytes", entry.max_task_bytes, defaults.max_task_bytes)
    return size if entry.url is None or entry.payload_bucket else min(size, MAX_SQS_BYTES)


def queue_problems(queues: tuple[QueueSpec, ...], catalogue: Catalogue) -> Iterator[str]:
    """Yield a line for each SQS queue whose dead letters would end in a file of one machine."""
    specs = {spec.name: spec for spec in queues}
    for spec in queues:
        dead = specs.get(spec.dead_letter_queue or "")
        if dead is None or spec.kind is QueueKind.PRIORITY or spec.url is None or dead.url is not None:
            continue
        yield (
            f"{catalogue.url_key(dead.name)}: is missing; the queue {spec.name!r} is on SQS, but its dead-letter "
            f"queue {dead.name!r} is embedded"
        )


def queue_warnings(queues: tuple[QueueSpec, ...], catalogue: Catalogue, defaults: Defaults) -> Iterator[str]:
    """Yield what is allowed but probably not meant."""
    specs = {spec.name: spec for spec in queues}
    for entry in catalogue.entries:
        spec = specs[entry.name]
        for name, variable in defaults.forced.items():
            written = getattr(entry, name)
            if written is not None and written != getattr(spec, name):
                yield f"{variable} replaces {catalogue.key(entry, name)} of the file"
        yield from _fifo_warnings(spec, specs)


def _fifo_warnings(spec: QueueSpec, specs: Mapping[str, QueueSpec]) -> Iterator[str]:
    dead = specs.get(spec.dead_letter_queue or "")
    if not spec.fifo or dead is None:
        return
    enough = fifo_receives_needed(spec.max_retries)
    if spec.max_receive_count < enough:
        yield (
            f"queue {spec.name!r}: max_receive_count {spec.max_receive_count} is under {enough}, "
            f"{FIFO_RECEIVES_PER_ATTEMPT} for each of its {spec.max_retries + 1} attempts; "
            "tasks may be dead-lettered before their attempts are used up"
        )
    if spec.backend is Backend.SQS and not dead.fifo:
        yield (
            f"queue {spec.name!r}: SQS itself moves nothing from a FIFO queue to {dead.name!r}, a standard queue; "
            "the consumer does it"
        )
