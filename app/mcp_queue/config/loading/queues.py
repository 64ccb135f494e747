"""Fills in the defaults of the configured queues."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from mcp_queue.config.loading.queue_rules import DEFAULT_DEAD_LETTER_QUEUE, QueueEntries, kind_of
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

#: The queues of a configuration that lists none.
BUILT_IN = (
    QueueEntry(name="tasks", type=QueueKind.STANDARD),
    QueueEntry(name="priority-tasks", type=QueueKind.FIFO),
    QueueEntry(name="dlq"),
)
_MAX_RECEIVES = 3
#: Every wait of a FIFO message is a receive, so many receives are no sign of a crash.
_MAX_FIFO_RECEIVES = 100

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDefaults:
    """The values of queues that set none themselves.

    ``forced`` maps each field that the environment has set to its variable. It overrides the file.
    """

    visibility_timeout: timedelta
    max_receive_count: int | None
    max_retries: int
    max_task_bytes: int
    forced: Mapping[str, str] = field(default_factory=dict)

    def choose(self, name: str, written: _Value | None, default: _Value) -> _Value:
        """Return the effective value of the field ``name``."""
        return default if written is None or name in self.forced else written


def resolve_queues(queue_entries: QueueEntries, defaults: QueueDefaults) -> tuple[QueueSpec, ...]:
    """Return the queues of ``queue_entries``, which must have no contradictions."""
    return tuple(_spec(entry, queue_entries, defaults) for entry in queue_entries.entries)


def _spec(entry: QueueEntry, queue_entries: QueueEntries, defaults: QueueDefaults) -> QueueSpec:
    kind = kind_of(entry)
    parent = queue_entries.parents.get(entry.name)
    merged = _inherit(entry, parent) if parent else entry
    dead_letter_queue = merged.dead_letter_queue or DEFAULT_DEAD_LETTER_QUEUE
    receives = defaults.max_receive_count or (_MAX_FIFO_RECEIVES if kind is QueueKind.FIFO else _MAX_RECEIVES)
    return QueueSpec(
        name=entry.name,
        kind=kind,
        backend=_backend(entry, queue_entries),
        public_name=parent.name if parent else entry.name,
        dead_letter_queue=None if entry.name in queue_entries.dead_letter_queues else dead_letter_queue,
        visibility_timeout=defaults.choose(
            "visibility_timeout", merged.visibility_timeout, defaults.visibility_timeout
        ),
        max_receive_count=defaults.choose("max_receive_count", merged.max_receive_count, receives),
        max_retries=defaults.choose("max_retries", merged.max_retries, defaults.max_retries),
        max_depth=entry.max_depth,
        max_task_bytes=_max_task_bytes(merged, defaults),
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


def _backend(entry: QueueEntry, queue_entries: QueueEntries) -> Backend:
    """Return the queue's backend; that of a priority queue is the backend of its level 0."""
    queue = (entry.levels or {}).get(0, entry.name)
    url = next(item.url for item in queue_entries.entries if item.name == queue)
    return Backend.SQLITE if url is None else Backend.SQS


def _max_task_bytes(entry: QueueEntry, defaults: QueueDefaults) -> int:
    size = defaults.choose("max_task_bytes", entry.max_task_bytes, defaults.max_task_bytes)
    return size if entry.url is None or entry.payload_bucket else min(size, MAX_SQS_BYTES)


def queue_problems(queues: tuple[QueueSpec, ...], queue_entries: QueueEntries) -> Iterator[str]:
    """Yield a line for each SQS queue whose dead-letter queue is embedded, and so a file of one machine."""
    specs = {spec.name: spec for spec in queues}
    for spec in queues:
        dead = specs.get(spec.dead_letter_queue or "")
        if dead is None or spec.kind is QueueKind.PRIORITY or spec.url is None or dead.url is not None:
            continue
        yield (
            f"{queue_entries.url_key(dead.name)}: is missing; the queue {spec.name!r} is on SQS, but its dead-letter "
            f"queue {dead.name!r} is embedded"
        )


def queue_warnings(
    queues: tuple[QueueSpec, ...], queue_entries: QueueEntries, defaults: QueueDefaults
) -> Iterator[str]:
    """Yield a warning for each value that is overridden, or probably not meant."""
    specs = {spec.name: spec for spec in queues}
    for entry in queue_entries.entries:
        spec = specs[entry.name]
        for name, variable in defaults.forced.items():
            written = getattr(entry, name)
            if written is not None and written != getattr(spec, name):
                yield f"{variable} replaces {queue_entries.key(entry, name)} of the file"
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
