"""Checks the queues of a configuration for contradictions."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from mcp_queue.config.schema.entries import MAX_SQS_BYTES, QueueEntry
from mcp_queue.config.schema.values import sqs_queue_name
from mcp_queue.domain.queues import QueueKind

DEFAULT_DEAD_LETTER_QUEUE = "dlq"


@dataclass(frozen=True, slots=True)
class QueueEntries:
    """The queues as the configuration writes them.

    ``variables`` maps the name of a queue to the environment variable that sets its URL.
    """

    entries: tuple[QueueEntry, ...]
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every queue."""
        return tuple(entry.name for entry in self.entries)

    @property
    def dead_letter_queues(self) -> frozenset[str]:
        """The names of the dead-letter queues."""
        named = {entry.dead_letter_queue for entry in self.entries}
        return frozenset(self.names) & (named | {DEFAULT_DEAD_LETTER_QUEUE})

    @property
    def parents(self) -> dict[str, QueueEntry]:
        """The priority queue of each level, by the level's name."""
        return {level: entry for entry in self.entries for level in (entry.levels or {}).values()}

    def key(self, entry: QueueEntry, name: str) -> str:
        """Return the key of the field ``name`` of ``entry``, for messages."""
        return self.url_key(entry.name) if name == "url" else f"queue.sqs.queues[{entry.name}].{name}"

    def url_key(self, name: str) -> str:
        """Return the key or variable of the URL of the queue ``name``, for messages."""
        return self.variables.get(name, f"queue.sqs.queues[{name}].url")

    def problems(self) -> Iterator[str]:
        """Yield every contradiction."""
        for name, count in Counter(self.names).items():
            if count > 1:
                yield f"queue.sqs.queues[{name}].name: {count} queues have this name"
        if not set(self.names) - self.dead_letter_queues:
            yield "queue.sqs.queues: there is no queue for tasks"
        yield from self._shared_urls()
        for entry in self.entries:
            yield from self._misplaced_options(entry)
            yield from self._url(entry)
            yield from self._levels(entry)
            yield from self._dead_letter_queue(entry)

    def _shared_urls(self) -> Iterator[str]:
        owners: dict[str, QueueEntry] = {}
        for entry in self.entries:
            if entry.url is not None:
                owner = owners.setdefault(entry.url, entry)
                if owner is not entry:
                    yield f"{self.key(entry, 'url')}: {owner.name!r} and {entry.name!r} are the same queue"

    def _misplaced_options(self, entry: QueueEntry) -> Iterator[str]:
        kind, on_sqs = kind_of(entry), entry.url is not None
        for names, fits, where in (
            (("url",), kind is not QueueKind.PRIORITY, "belongs to the levels of a priority queue"),
            (("levels", "level_policy"), kind is QueueKind.PRIORITY, "is for priority queues only"),
            (("message_group_id", "failure_policy"), kind is QueueKind.FIFO, "is for FIFO queues only"),
            (("payload_bucket", "cloudwatch_age"), on_sqs, "is for queues on SQS only; this one has no url"),
            (("max_depth",), not on_sqs and kind is not QueueKind.PRIORITY, "is for embedded queues only"),
        ):
            for name in names:
                if getattr(entry, name) and not fits:
                    yield f"{self.key(entry, name)}: {where}"

    def _url(self, entry: QueueEntry) -> Iterator[str]:
        if entry.url is None or kind_of(entry) is QueueKind.PRIORITY:
            return
        named_fifo = sqs_queue_name(entry.url).endswith(".fifo")
        if named_fifo != (kind_of(entry) is QueueKind.FIFO):
            yield (
                f"{self.key(entry, 'url')}: {entry.name!r} is a {kind_of(entry)} queue, but the name of its SQS queue "
                f"{'ends' if named_fifo else 'does not end'} in .fifo"
            )
        if entry.max_task_bytes and entry.max_task_bytes > MAX_SQS_BYTES and not entry.payload_bucket:
            yield f"{self.key(entry, 'max_task_bytes')}: more than {MAX_SQS_BYTES} needs a payload_bucket"

    def _levels(self, entry: QueueEntry) -> Iterator[str]:
        if kind_of(entry) is not QueueKind.PRIORITY:
            return
        levels, key = entry.levels or {}, self.key(entry, "levels")
        if 0 not in levels:
            yield f"{key}: there is no level 0, which takes every priority that has no level"
        for name in dict.fromkeys(levels.values()):
            yield from (f"{key}: {problem}" for problem in self._level(name))

    def _level(self, name: str) -> Iterator[str]:
        level = next((entry for entry in self.entries if entry.name == name), None)
        uses = [owner.name for owner in self.entries for used in (owner.levels or {}).values() if used == name]
        if level is None:
            yield f"{name!r} is no queue{_suggestion(name, self.names)}"
            return
        if len(uses) > 1:
            yield f"{name!r} is a level twice, of {' and of '.join(dict.fromkeys(uses))}"
        if kind_of(level) is not QueueKind.STANDARD:
            yield f"{name!r} is a {kind_of(level)} queue; levels are standard queues"
        if name in self.dead_letter_queues:
            yield f"{name!r} is a dead-letter queue"
        if level.dead_letter_queue not in {None, self.parents[name].dead_letter_queue}:
            yield f"{name!r} names a dead-letter queue of its own; a level uses its priority queue's"

    def _dead_letter_queue(self, entry: QueueEntry) -> Iterator[str]:
        key, name = self.key(entry, "dead_letter_queue"), entry.dead_letter_queue
        dead = next((item for item in self.entries if item.name == name), None)
        if entry.name in self.dead_letter_queues:
            if name is not None:
                yield f"{key}: {entry.name!r} is a dead-letter queue itself and has none of its own"
        elif name is None:
            if DEFAULT_DEAD_LETTER_QUEUE not in self.names and entry.name not in self.parents:
                yield f"{key}: is missing, and there is no queue {DEFAULT_DEAD_LETTER_QUEUE!r} to take its place"
        elif dead is None:
            yield f"{key}: {name!r} is no queue{_suggestion(name, self.names)}"
        elif kind_of(dead) is QueueKind.PRIORITY:
            yield f"{key}: {name!r} is a priority queue"


def kind_of(entry: QueueEntry) -> QueueKind:
    """Return the queue's kind; if none is written, the name of the SQS queue decides."""
    fifo = entry.url is not None and sqs_queue_name(entry.url).endswith(".fifo")
    return entry.type or (QueueKind.FIFO if fifo else QueueKind.STANDARD)


def _suggestion(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""
