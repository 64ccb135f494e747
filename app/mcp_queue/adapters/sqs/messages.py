"""Converts between tasks and SQS messages: bodies, attributes, groups and deduplication ids."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final, cast

from mcp_queue.adapters.sqs.api import limits
from mcp_queue.domain.dead_letters.notes import failure_notes
from mcp_queue.domain.delivery import DeadLetterMessage, Delivery
from mcp_queue.domain.formats.serialization import TaskSerializer
from mcp_queue.domain.formats.trace_context import trace_id_of
from mcp_queue.domain.messages import TRACEPARENT
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import MessageTypeDef

#: System attributes that every receive asks for; SQS sends none unasked.
SYSTEM_ATTRIBUTES: Final = (
    "ApproximateReceiveCount",
    "SentTimestamp",
    "MessageGroupId",
    "MessageDeduplicationId",
    "SequenceNumber",
    "DeadLetterQueueSourceArn",
)
# A FIFO queue holds nothing back, so a task that was due later than this after its making was held by the ledger.
_HELD = timedelta(seconds=1)

#: The value of a message attribute, as SQS spells it. Received binary ones are in the base64 of its JSON.
Attribute = Mapping[str, str | bytes]


@dataclass(frozen=True, kw_only=True)
class SqsMessage:
    """A message to be sent. ``delay`` is in seconds; a FIFO queue takes none."""

    body: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    delay: int = 0
    group: str | None = None
    deduplication_id: str | None = None

    @cached_property
    def size(self) -> int:
        """Bytes that SQS counts: the body, and name, type and value of each attribute."""
        return utf8_length(self.body) + sum(_attribute_size(name, value) for name, value in self.attributes.items())


@dataclass(slots=True, eq=False, kw_only=True)
class SqsDelivery(Delivery):
    """A delivery with what is needed to send its message again unchanged.

    ``wire`` is the message as it was received (its body may be a pointer to the true one). ``moved`` is true once its
    successor was sent, so that a second try of settling it sends nothing twice. ``unread`` is true where the true body
    could not be fetched for so long that it is no longer waited for.
    """

    wire: SqsMessage
    moved: bool = False
    unread: bool = False


def own(delivery: Delivery) -> SqsDelivery:
    """Return ``delivery`` as the type that this package made it with."""
    assert isinstance(delivery, SqsDelivery), "a delivery is settled by the queue that it came from"
    return delivery


def wire_of(delivery: Delivery) -> SqsMessage:
    """Return the message of ``delivery`` as it was received, or as SQS takes it where it comes from elsewhere."""
    if isinstance(delivery, SqsDelivery):
        return delivery.wire
    attributes = {name: text(value) for name, value in delivery.attributes.items() if limits.acceptable(value)}
    return SqsMessage(body=delivery.body, attributes=attributes)


def task_message(task: Task, serializer: TaskSerializer, spec: QueueSpec, *, delay: int = 0) -> SqsMessage:
    """Return ``task`` as a message to a queue of ``spec``."""
    group = limits.valid_id(spec.group_of(task.group))
    return SqsMessage(
        body=serializer.dumps(task),
        attributes=_attributes(task),
        delay=delay,
        group=group,
        deduplication_id=_deduplication_id(task) if spec.fifo else None,
    )


def task_dead_letter(
    dead_letter: DeadLetterMessage, delivery: Delivery, serializer: TaskSerializer, spec: QueueSpec
) -> SqsMessage:
    """Return the task of a dead letter as a message to the dead-letter queue of ``spec``."""
    assert dead_letter.task is not None
    task = dead_letter.task
    message = task_message(task, serializer, spec)
    group = _dead_letter_group(spec, task.group or delivery.group)
    return replace(message, group=group, deduplication_id=_generation_id(task) if spec.fifo else None)


def raw_dead_letter(dead_letter: DeadLetterMessage, delivery: Delivery, spec: QueueSpec) -> SqsMessage:
    """Return the message of ``delivery`` as a dead letter, with its notes beside the body.

    The body is unchanged but for characters that SQS refuses, which only an emulator or another backend delivers.
    """
    wire, reason = wire_of(delivery), limits.clean(dead_letter.reason) or "unknown"
    written = failure_notes(reason, dead_letter.failed_at, dead_letter.original_queue)
    notes = {name: text(value) for name, value in written.items()}
    kept = [(name, _sendable(value)) for name, value in wire.attributes.items() if name not in notes]
    attributes = {**dict(kept[: limits.MAX_ATTRIBUTES - len(notes)]), **notes}
    return SqsMessage(
        body=limits.clean(wire.body),
        attributes=attributes,
        group=_dead_letter_group(spec, delivery.group),
        deduplication_id=limits.fifo_id(delivery.message_id) if spec.fifo else None,
    )


def received(message: "MessageTypeDef", spec: QueueSpec, leased_at: float) -> SqsDelivery:
    """Return one received message, its task not read yet."""
    system = message.get("Attributes", {})
    attributes = cast("Mapping[str, Mapping[str, str]]", message.get("MessageAttributes", {}))
    sent_ms = system.get("SentTimestamp")
    return SqsDelivery(
        queue=spec.public_name,
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        leased_at=leased_at,
        group=system.get("MessageGroupId"),
        sent_at=datetime.fromtimestamp(int(sent_ms) / 1000, UTC) if sent_ms else None,
        attributes={name: value["StringValue"] for name, value in attributes.items() if "StringValue" in value},
        wire=SqsMessage(body=message["Body"], attributes=attributes, group=system.get("MessageGroupId")),
    )


def resent(delivery: SqsDelivery) -> SqsMessage:
    """Return the message of a delivery as it came, to be sent once more to the same standard queue."""
    attributes = {name: _sendable(value) for name, value in delivery.wire.attributes.items()}
    return replace(delivery.wire, attributes=attributes)


def _attributes(task: Task) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {"Priority": number(task.priority)}
    if limits.acceptable(task.type):
        attributes["Type"] = text(task.type)
    if task.traceparent is not None and trace_id_of(task.traceparent) is not None:
        attributes[TRACEPARENT] = text(task.traceparent)
    return attributes


def text(value: str) -> Attribute:
    """Return an attribute of text."""
    return {"DataType": "String", "StringValue": value}


def number(value: int) -> Attribute:
    """Return an attribute that is a number."""
    return {"DataType": "Number", "StringValue": str(value)}


def _dead_letter_group(spec: QueueSpec, group: str | None) -> str | None:
    """Return a group that SQS takes: on FIFO queues there has to be one, and the task itself carries its own."""
    named = spec.group_of(group)
    return limits.fifo_id(named) if spec.fifo and named is not None else limits.valid_id(named)


def _sendable(value: Attribute) -> Attribute:
    binary = value.get("BinaryValue")
    return {**value, "BinaryValue": base64.b64decode(binary)} if isinstance(binary, str) else value


def utf8_length(value: str) -> int:
    """Return the bytes of ``value`` in UTF-8."""
    return len(value) if value.isascii() else len(value.encode())


def _attribute_size(name: str, value: Attribute) -> int:
    content = value.get("StringValue") or value.get("BinaryValue") or b""
    size = utf8_length(content) if isinstance(content, str) else len(content)
    return len(name) + len(value["DataType"]) + size


def _deduplication_id(task: Task) -> str:
    """Return the deduplication id of a task: that of its first, direct send, or that of its generation.

    SQS swallows a second message of one id for 5 minutes: a task that was held until due, or is redriven, must not
    share its id with the send of another.
    """
    held = task.scheduled_for is not None and task.scheduled_for - task.created_at > _HELD
    if held or task.redrive_count or task.retry_count:
        return _generation_id(task)
    return limits.fifo_id(task.deduplication_id or task.id)


def _generation_id(task: Task) -> str:
    return limits.fifo_id(f"{task.id}.{task.redrive_count}")
