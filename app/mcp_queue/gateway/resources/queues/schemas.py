"""Answers about queues."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, WithJsonSchema

from mcp_queue.domain.queues import Backend, FailurePolicy, LevelPolicy, QueueKind, QueueSpec
from mcp_queue.gateway.answers import Seconds, View
from mcp_queue.services.queues.manager import QueueDescription


class QueueConfiguration(View):
    """How a queue is set up. Durations are in seconds; `null` is no limit, or not for this kind."""

    visibility_timeout: Seconds
    max_receive_count: int
    max_retries: int
    max_depth: int | None
    max_task_bytes: int
    message_group_id: str | None
    failure_policy: FailurePolicy | None
    levels: dict[str, str] | None
    level_policy: LevelPolicy | None

    @classmethod
    def of(cls, spec: QueueSpec) -> Self:
        """Return what is set for the kind of ``spec``."""
        priority = spec.kind is QueueKind.PRIORITY
        return cls(
            visibility_timeout=spec.visibility_timeout,
            max_receive_count=spec.max_receive_count,
            max_retries=spec.max_retries,
            max_depth=spec.max_depth,
            max_task_bytes=spec.max_task_bytes,
            message_group_id=spec.message_group_id,
            failure_policy=spec.failure_policy if spec.fifo else None,
            levels={str(level): name for level, name in spec.levels.items()} if priority else None,
            level_policy=spec.level_policy if priority else None,
        )


class QueueView(View):
    """A queue. One that holds dead letters takes no tasks, no pause and no purge by its own name."""

    name: str
    kind: QueueKind
    backend: Annotated[str, WithJsonSchema({"type": "string", "enum": [Backend.SQS.value, Backend.SQLITE.value]})]
    dead_letter_queue: str | None
    holds_dead_letters: bool
    paused: bool
    configuration: QueueConfiguration

    @classmethod
    def of(cls, queue: QueueDescription) -> Self:
        """Return what clients see of ``queue``."""
        spec = queue.spec
        return cls(
            name=spec.public_name,
            kind=spec.kind,
            backend=spec.backend,
            dead_letter_queue=spec.dead_letter_queue,
            holds_dead_letters=queue.holds_dead_letters,
            paused=queue.paused,
            configuration=QueueConfiguration.of(spec),
        )


class QueueList(View):
    """Every queue."""

    queues: list[QueueView]
    next_cursor: None


#: Attributes of a queue at SQS that are shown. Others name accounts, roles and keys.
_SHOWN = frozenset({
    "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesNotVisible",
    "ContentBasedDeduplication", "CreatedTimestamp", "DeduplicationScope", "DelaySeconds", "FifoQueue",
    "FifoThroughputLimit", "LastModifiedTimestamp", "MaximumMessageSize", "MessageRetentionPeriod",
    "ReceiveMessageWaitTimeSeconds", "SqsManagedSseEnabled", "VisibilityTimeout",
})  # fmt: skip


def _shown(attributes: Mapping[str, str]) -> dict[str, str]:
    # Those of a level stand behind its name and a dot.
    return {name: value for name, value in attributes.items() if name.rpartition(".")[2] in _SHOWN}


class StatsView(View):
    """What is in a queue. Counts may lag on SQS; what is not known is `null`."""

    queue_name: str
    approximate_messages: int
    inflight_messages: int
    delayed_messages: int
    oldest_message_age: Annotated[Seconds | None, Field(description="In seconds.")]
    dead_letters: int | None
    paused: bool
    attributes: Annotated[dict[str, str], BeforeValidator(_shown)]


class PurgeView(View):
    """How many tasks were deleted; `null` where the backend does not say."""

    purged: int | None
