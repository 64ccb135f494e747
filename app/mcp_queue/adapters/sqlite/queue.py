"""A queue in the embedded queue's file."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import count

from typing_extensions import override

from mcp_queue.adapters.sqlite.dead_letters import DeadLetterTarget
from mcp_queue.adapters.sqlite.engine.command import microseconds, moment, timestamp
from mcp_queue.adapters.sqlite.engine.file import QueueFile
from mcp_queue.adapters.sqlite.engine.reader import Reader
from mcp_queue.adapters.sqlite.engine.reader import count as count_messages
from mcp_queue.adapters.sqlite.engine.watcher import Watcher
from mcp_queue.adapters.sqlite.engine.writer import Writer
from mcp_queue.adapters.sqlite.enqueue import Enqueue, Entry
from mcp_queue.adapters.sqlite.purge import PURGED_AT_ONCE, Ping, Purge
from mcp_queue.adapters.sqlite.receive import MessageRow, Receive, Take, browse
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
from mcp_queue.domain.formats.serialization import TaskSerializer
from mcp_queue.domain.messages import attributes_of, attributes_of_raw, body_within_limit, read_task
from mcp_queue.domain.queues import QueueSpec, QueueStats, QueueTraits
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock, DeadLetterSink, MessageBrowser, Queue
from mcp_queue.services.queues.long_polling import LongPolling, ReceiveResult


@dataclass(frozen=True, slots=True)
class SqliteContext:
    """What all queues of one file share."""

    file: QueueFile
    writer: Writer
    reader: Reader
    watcher: Watcher
    clock: Clock
    serializer: TaskSerializer


class SqliteQueue(Queue, MessageBrowser):
    """A queue in the file of its backend, which makes it.

    It settles every delivery in one transaction. A lease that has ended can still be settled or extended until the
    message is received again, on FIFO queues too: the receipt proves that the work was not done twice.
    """

    def __init__(
        self,
        spec: QueueSpec,
        context: SqliteContext,
        polling: LongPolling,
        dead_letters: DeadLetterSink | Callable[[], DeadLetterTarget | None],
    ) -> None:
        """Send dead letters to another backend, or move them within the file to what the function returns."""
        self._spec = spec
        self._file = context.file
        self._writer = context.writer
        self._reader = context.reader
        self._watcher = context.watcher
        self._clock = context.clock
        self._serializer = context.serializer
        self._polling = polling
        self._sink = None if callable(dead_letters) else dead_letters
        self._dead_letter_target = dead_letters if callable(dead_letters) else _no_target
        # Unique without asking the system for randomness at every message.
        self._id_prefix = secrets.token_hex(8)
        self._id_numbers = count(1)

    @property
    @override
    def spec(self) -> QueueSpec:
        return self._spec

    @property
    @override
    def traits(self) -> QueueTraits:
        return QueueTraits()

    @override
    async def enqueue(self, task: Task) -> Accepted:
        verdicts = await self._writer.submit(Enqueue(self._spec, (self._entry(task),)))
        verdict = verdicts[0]
        if isinstance(verdict, QueueError):
            raise verdict
        return verdict

    @override
    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
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

    @override
    async def receive(self, limit: int, wait: timedelta) -> list[Delivery]:
        with self._watcher.watching():
            return await self._polling.poll(partial(self._receive_now, limit), wait)

    @override
    async def browse(self, after: Delivery | None, limit: int) -> list[Delivery]:
        seq = 0 if after is None else Receipt.of(after.receipt_handle).seq
        rows = await self._reader.run(partial(browse, queue=self._spec.name, after=seq, limit=limit))
        return [self._delivery(row, 0, self._clock.monotonic()) for row in rows]

    @override
    async def take(self, delivery: Delivery) -> Delivery | None:
        leased_at = self._clock.monotonic()
        leased = await self._writer.submit(Take(self._spec, Receipt.of(delivery.receipt_handle).seq))
        return next((self._delivery(row, leased.receipt, leased_at) for row in leased.rows), None)

    @override
    def stop_waiting(self) -> None:
        self._polling.stop_waiting()

    @override
    async def complete(self, delivery: Delivery) -> None:
        await self._writer.submit(Complete(Receipt.of(delivery.receipt_handle)))

    @override
    async def retry(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        receipt = Receipt.of(delivery.receipt_handle)
        attributes = write_attributes(attributes_of(task))
        await self._writer.submit(Requeue(receipt, microseconds(delay), attributes, self._serializer.dumps(task)))
        return Requeued.REWRITTEN

    @override
    async def defer(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        # Whether an attempt was counted stands in ``task``.
        return await self.retry(delivery, task, delay)

    @override
    async def release(self, delivery: Delivery) -> None:
        await self._writer.submit(Release(Receipt.of(delivery.receipt_handle)))

    @override
    async def extend(self, delivery: Delivery, lease: timedelta) -> None:
        await self._writer.submit(Extend(Receipt.of(delivery.receipt_handle), microseconds(lease)))

    @override
    async def dead_letter(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
        if self._sink is not None:
            # A crash in between duplicates it.
            await self._sink.put(delivery, dead_letter)
            await self.complete(delivery)
            return
        target = self._dead_letter_target()
        if target is None:
            message = f"queue {self._spec.name!r} has no dead-letter queue"
            raise NotSupportedError(message)
        if dead_letter.task is None:
            attributes, body = attributes_of_raw(dead_letter), None
        else:
            attributes, body = attributes_of(dead_letter.task), self._serializer.dumps(dead_letter.task)
        receipt = Receipt.of(delivery.receipt_handle)
        await self._writer.submit(MoveToDeadLetters(receipt, target, dead_letter.original_queue, attributes, body))

    @override
    async def stats(self) -> QueueStats:
        now = timestamp(self._clock.now())
        stats = await self._reader.run(partial(count_messages, spec=self._spec, now=now))
        return stats if self._sink is None else replace(stats, dead_letters=None)

    @override
    async def purge(self) -> int:
        # In steps: a purge that is cancelled leaves the rest.
        purged = await self._writer.submit(Purge(self._spec.name))
        total = purged.deleted
        while purged.deleted == PURGED_AT_ONCE:
            purged = await self._writer.submit(Purge(self._spec.name, purged.last))
            total += purged.deleted
        return total

    @override
    async def ping(self) -> None:
        await self._writer.submit(Ping())
        await self._reader.run(self._file.check_whole)

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

    async def _receive_now(self, limit: int) -> ReceiveResult:
        leased_at = self._clock.monotonic()
        leased = await self._writer.receive(Receive(self._spec, limit, self._dead_letter_target()))
        deliveries = [self._delivery(row, leased.receipt, leased_at) for row in leased.rows]
        return ReceiveResult(deliveries, None if leased.next_due is None else moment(leased.next_due))

    def _delivery(self, row: MessageRow, token: int, leased_at: float) -> Delivery:
        attributes = read_attributes(row.attributes)
        sent_at = moment(row.sent_at)
        delivery = Delivery(
            queue=self._spec.public_name,
            message_id=row.message_id,
            receipt_handle=Receipt(row.seq, token).handle(),
            body=row.body,
            receive_count=row.receive_count + 1,
            leased_at=leased_at,
            group=row.group,
            sent_at=sent_at,
            source_queue=row.origin if row.redriven else None,
            attributes=attributes,
        )
        read_task(delivery, self._spec, self._serializer, sent_at)
        return delivery


def _no_target() -> None:
    """Return no dead-letter queue of the file."""
