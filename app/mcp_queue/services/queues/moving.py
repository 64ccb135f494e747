"""Moves everything that waits in one queue to another, whatever their backends."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from mcp_queue.domain.dead_letters.notes import read_notes
from mcp_queue.domain.delivery import DeadLetterMessage, Delivery
from mcp_queue.domain.errors import InvalidTaskError, QueueError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.ports import Clock, DeadLetterSink, Queue
from mcp_queue.services.queues.priority import ProducerQueue

_BATCH = 10
_UNKNOWN_REASON = "received too often without being settled: its worker crashed, or its lease was lost"


@dataclass(slots=True)
class MoveOutcome:
    """How many messages were moved, and by message id why others stay."""

    moved: int = 0
    refused: dict[str, QueueError] = field(default_factory=dict)


class QueueMover:
    """Receives what can be received from ``source``, sends it to ``target``, and deletes it then.

    A crash in between leaves a message in both. What the target refuses stays, and is shown again at the end.
    """

    def __init__(self, source: Queue, target: ProducerQueue, clock: Clock, sink: DeadLetterSink | None = None) -> None:
        """Send dead letters to ``sink``, where the target takes them so."""
        self._source = source
        self._target = target
        self._clock = clock
        self._sink = sink

    async def move_all(self) -> MoveOutcome:
        """Move until nothing new can be received."""
        outcome, kept = MoveOutcome(), []
        while deliveries := await self._source.receive(_BATCH, timedelta(0)):
            if any(delivery.message_id in outcome.refused for delivery in deliveries):
                kept += deliveries
                break
            for delivery, refusal in zip(deliveries, await self._send(deliveries), strict=True):
                if refusal is None:
                    await self._source.complete(delivery)
                    outcome.moved += 1
                else:
                    outcome.refused[delivery.message_id] = refusal
                    kept.append(delivery)
        for delivery in kept:
            await self._source.extend(delivery, timedelta(0))
        return outcome

    async def _send(self, deliveries: Sequence[Delivery]) -> list[QueueError | None]:
        if self._sink is not None:
            return [await self._send_dead_letter(self._sink, delivery) for delivery in deliveries]
        name = self._target.spec.public_name
        tasks = [replace(delivery.task, queue=name) for delivery in deliveries if delivery.task is not None]
        answers = iter(await self._target.enqueue_batch(tasks) if tasks else ())
        verdicts = [
            InvalidTaskError(delivery.poison or "its body is no task") if delivery.task is None else next(answers)
            for delivery in deliveries
        ]
        return [verdict if isinstance(verdict, QueueError) else None for verdict in verdicts]

    async def _send_dead_letter(self, sink: DeadLetterSink, delivery: Delivery) -> QueueError | None:
        try:
            await sink.put(delivery, self._as_dead_letter(delivery))
        except QueueError as error:
            return error
        return None

    def _as_dead_letter(self, delivery: Delivery) -> DeadLetterMessage:
        notes, now = read_notes(delivery), self._clock.now()
        reason = notes.get("failure_reason") or _UNKNOWN_REASON
        source = notes.get("original_queue") or delivery.source_queue or delivery.queue
        if delivery.task is not None and "failed_at" not in notes:
            return dead_letter_message(delivery.task, reason, now, source)
        return DeadLetterMessage(task=delivery.task, reason=reason, failed_at=now, original_queue=source)
