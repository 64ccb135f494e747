"""The embedded queue as the core sees it."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count

from mcp_queue.adapters.messages import TRACEPARENT, attributes_of, attributes_of_raw, body_within_limit, read_body
from mcp_queue.adapters.polling import Arrivals, Catch
from mcp_queue.adapters.sqlite.dead_letters import Shelf
from mcp_queue.adapters.sqlite.engine.command import microseconds, moment, timestamp
from mcp_queue.adapters.sqlite.engine.reader import Reader
from mcp_queue.adapters.sqlite.engine.reader import count as count_messages
from mcp_queue.adapters.sqlite.engine.watcher import Watcher
from mcp_queue.adapters.sqlite.engine.writer import Writer
from mcp_queue.adapters.sqlite.enqueue import Enqueue, Entry
from mcp_queue.adapters.sqlite.purge import PURGED_AT_ONCE, Ping, Purge
from mcp_queue.adapters.sqlite.receive import Receive, Row
from mcp_queue.adapters.sqlite.settle import (
    Complete,
    Extend,
    MoveToDeadLetters,
    Receipt,
    Release,
    Requeue,
    read_attributes,
    write_attributes,
)
from mcp_queue.domain.delivery import Accepted, DeadLetterMessage, Delivery, Requeued
from mcp_queue.domain.errors import NotSupportedError, QueueError, TaskTooLargeError
from mcp_queue.domain.formats.serialization import MessageFacts, TaskSerializer
from mcp_queue.domain.queues import QueueSpec, QueueStats, QueueTraits
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock


@dataclass(frozen=True, slots=True)
class Access:
    """What all queues of one file share."""

    writer: Writer
    reader: Reader
    watcher: Watcher
    clock: Clock
    serializer: TaskSerializer


class SqliteQueue:
    """Implements ``Queue`` on the file of its backend.

    A lease that has ended may still be settled or extended as long as nobody else took the message, on FIFO queues too:
    the receipt proves that the work was not done twice.
    """

    def __init__(
        self, spec: QueueSpec, access: Access, arrivals: Arrivals, *, shelf: Callable[[], Shelf | None]
    ) -> None:
        """Be made by ``SqliteBackend.queue``; ``shelf`` tells where dead letters go."""
        self._spec = spec
        self._writer = access.writer
        self._reader = access.reader
        self._watcher = access.watcher
        self._clock = access.clock
        self._serializer = access.serializer
        self._arrivals = arrivals
        self._shelf = shelf
        # Unique without asking the system for randomness at every message.
        self._id_prefix = secrets.token_hex(8)
        self._id_numbers = count(1)

    @property
    def spec(self) -> QueueSpec:
        """The configuration of this queue."""
        return self._spec

    @property
    def traits(self) -> QueueTraits:
        """It holds any delay, rewrites messages and, with a dead-letter queue, moves them by itself."""
        return QueueTraits(backend_redrives=self._spec.dead_letter_queue is not None)

    async def enqueue(self, task: Task) -> Accepted:
        """Put ``task`` into the queue; it is on the disk when this returns."""
        verdicts = await self._writer.submit(Enqueue(self._spec, (self._entry(task),)))
        verdict = verdicts[0]
        if isinstance(verdict, QueueError):
            raise verdict
        return verdict

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Put many tasks into the queue in one transaction, each with its own verdict."""
        refused: dict[int, QueueError] = {}
        entries: list[Entry] = []
        for index, task in enumerate(tasks):
            try:
                entries.append(self._entry(task))
            except TaskTooLargeError as error:
                refused[index] = error
        answers = await self._writer.submit(Enqueue(self._spec, entries))
        verdicts = iter(answers)
        return [refused.get(index) or next(verdicts) for index in range(len(tasks))]

    async def receive(self, limit: int, wait: timedelta) -> list[Delivery]:
        """Receive up to ``limit`` messages; wait for the first one."""
        with self._watcher.watching():
            return await self._arrivals.poll(partial(self._look, limit), wait)

    def stop_waiting(self) -> None:
        """Let receives return without waiting."""
        self._arrivals.stop_waiting()

    async def complete(self, delivery: Delivery) -> None:
        """Delete the message."""
        await self._writer.submit(Complete(Receipt.of(delivery.receipt_handle)))

    async def retry(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        """Give the message back to run as ``task`` after ``delay``."""
        receipt = Receipt.of(delivery.receipt_handle)
        attributes = write_attributes(attributes_of(task))
        await self._writer.submit(Requeue(receipt, microseconds(delay), attributes, self._serializer.dumps(task)))
        return Requeued.REWRITTEN

    async def defer(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        """Give the message back like a retry: whether an attempt was counted stands in ``task``."""
        return await self.retry(delivery, task, delay)

    async def release(self, delivery: Delivery) -> None:
        """Give the message back unprocessed."""
        await self._writer.submit(Release(Receipt.of(delivery.receipt_handle)))

    async def extend(self, delivery: Delivery, lease: timedelta) -> None:
        """Hide the message for ``lease`` from now."""
        await self._writer.submit(Extend(Receipt.of(delivery.receipt_handle), microseconds(lease)))

    async def dead_letter(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
        """Move the message to the dead-letter queue as ``dead_letter``, in one transaction."""
        if (shelf := self._shelf()) is None:
            message = f"queue {self._spec.name!r} has no dead-letter queue"
            raise NotSupportedError(message)
        if dead_letter.task is None:
            attributes, body = attributes_of_raw(dead_letter), None
        else:
            attributes, body = attributes_of(dead_letter.task), self._serializer.dumps(dead_letter.task)
        receipt = Receipt.of(delivery.receipt_handle)
        await self._writer.submit(MoveToDeadLetters(receipt, shelf, dead_letter.original_queue, attributes, body))

    async def stats(self) -> QueueStats:
        """Count what lies in the queue, exactly."""
        now = timestamp(self._clock.now())
        return await self._reader.ask(partial(count_messages, spec=self._spec, now=now))

    async def purge(self) -> int:
        """Delete what is not in flight, some at a time: cancelled on the way, the rest stays."""
        purged = await self._writer.submit(Purge(self._spec.name))
        total = purged.deleted
        while purged.deleted == PURGED_AT_ONCE:
            purged = await self._writer.submit(Purge(self._spec.name, purged.last))
            total += purged.deleted
        return total

    async def ping(self) -> None:
        """Return if a transaction could be begun."""
        await self._writer.submit(Ping())

    def _entry(self, task: Task) -> Entry:
        return Entry(
            task_id=task.id,
            message_id=f"{self._id_prefix}-{next(self._id_numbers)}",
            body=body_within_limit(task, self._spec, self._serializer),
            attributes=write_attributes(attributes_of(task)),
            group=self._spec.group_of(task.group),
            deduplication_id=task.deduplication_id or task.id,
            due=None if task.scheduled_for is None else timestamp(task.scheduled_for),
        )

    async def _look(self, limit: int) -> Catch:
        leased_at = self._clock.monotonic()
        found = await self._writer.receive(Receive(self._spec, limit, self._shelf()))
        deliveries = [self._delivery(row, found.receipt, leased_at) for row in found.rows]
        return Catch(deliveries, None if found.due is None else moment(found.due))

    def _delivery(self, row: Row, token: int, leased_at: float) -> Delivery:
        attributes = read_attributes(row.attributes)
        sent_at = moment(row.sent_at)
        facts = MessageFacts(
            message_id=row.message_id,
            queue=self._spec.public_name,
            sent_at=sent_at,
            max_retries=self._spec.max_retries,
            group=row.group,
            traceparent=attributes.get(TRACEPARENT),
        )
        task, poison = read_body(row.body, facts, self._serializer)
        return Delivery(
            queue=self._spec.public_name,
            message_id=row.message_id,
            receipt_handle=Receipt(row.seq, token).handle(),
            body=row.body,
            receive_count=row.receive_count + 1,
            leased_at=leased_at,
            task=task,
            poison=poison,
            group=row.group,
            sent_at=sent_at,
            source_queue=row.origin if row.redriven else None,
            attributes=attributes,
        )
