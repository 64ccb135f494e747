"""A queue in memory with the semantics of the embedded queue."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count

from typing_extensions import override

from mcp_queue.domain.delivery import Accepted, DeadLetterMessage, Delivery, Requeued
from mcp_queue.domain.errors import NotSupportedError, QueueError, QueueFullError, VisibilityTimeoutError
from mcp_queue.domain.formats.serialization import TaskSerializer
from mcp_queue.domain.messages import attributes_of, attributes_of_raw, body_within_limit, read_task
from mcp_queue.domain.queues import MAX_LEASE, QueueSpec, QueueStats, QueueTraits
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock, Queue
from mcp_queue.services.queues.long_polling import LongPolling, ReceiveResult
from mcp_queue.testing.messages import FirstCopies, StoredMessage, heads, receive_order


class InMemoryQueue(Queue):
    """A queue of any kind but priority. Nothing survives the process."""

    def __init__(
        self,
        spec: QueueSpec,
        *,
        clock: Clock,
        serializer: TaskSerializer,
        dead_letters: "InMemoryQueue | None" = None,
    ) -> None:
        """Make an empty queue whose failed messages move to ``dead_letters``."""
        self._spec = spec
        self._clock = clock
        self._serializer = serializer
        self._dead_letters = dead_letters
        self._messages: list[StoredMessage] = []
        self._first_copies = FirstCopies()
        self._places, self._ids, self._receipts = count(), count(1), count(1)
        self._polling = LongPolling(clock)

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
        body = body_within_limit(task, self._spec, self._serializer)
        if self._spec.fifo and (first := self._first_copies.of(task, self._clock.now())) is not None:
            return first
        if self._spec.max_depth is not None and len(self._messages) >= self._spec.max_depth:
            raise QueueFullError
        message = self._add(body, attributes_of(task), task.group, task.scheduled_for)
        if self._spec.fifo:
            self._first_copies.remember(task, message.message_id, self._clock.now())
        return Accepted(message.message_id)

    @override
    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        verdicts: list[Accepted | QueueError] = []
        for task in tasks:
            try:
                verdicts.append(await self.enqueue(task))
            except QueueError as error:
                verdicts.append(error)
        return verdicts

    @override
    async def receive(self, limit: int, wait: timedelta) -> list[Delivery]:
        async def receive_now() -> ReceiveResult:
            return self._receive_now(limit)

        return await self._polling.poll(receive_now, wait)

    @override
    def stop_waiting(self) -> None:
        self._polling.stop_waiting()

    @override
    async def complete(self, delivery: Delivery) -> None:
        self._messages.remove(self._held(delivery))
        self._polling.wake()

    @override
    async def retry(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        message = self._held(delivery)
        message.body, message.attributes = self._serializer.dumps(task), attributes_of(task)
        message.receive_count = 0
        self._make_visible(message, delay)
        return Requeued.REWRITTEN

    @override
    async def defer(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        # Whether an attempt was counted stands in ``task``.
        return await self.retry(delivery, task, delay)

    @override
    async def release(self, delivery: Delivery) -> None:
        message = self._held(delivery)
        message.receive_count -= 1
        self._make_visible(message, timedelta(0))

    @override
    async def extend(self, delivery: Delivery, lease: timedelta) -> None:
        message = self._held(delivery)
        until = self._clock.now() + lease
        if message.received_at is None or until > message.received_at + MAX_LEASE:
            raise VisibilityTimeoutError("a lease ends 12 hours after the receive at the latest")
        message.visible_at = until
        self._polling.wake()

    @override
    async def dead_letter(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
        if self._dead_letters is None:
            message = f"queue {self._spec.name!r} has no dead-letter queue"
            raise NotSupportedError(message)
        held = self._held(delivery)
        if dead_letter.task is None:
            body, attributes = held.body, held.attributes | attributes_of_raw(dead_letter)
        else:
            body, attributes = self._serializer.dumps(dead_letter.task), attributes_of(dead_letter.task)
        moved = self._dead_letters._add(body, attributes, held.group, message_id=held.message_id)  # noqa: SLF001  # of the same class
        moved.origin = dead_letter.original_queue
        self._messages.remove(held)
        self._polling.wake()

    @override
    async def stats(self) -> QueueStats:
        now = self._clock.now()
        waiting = [message for message in self._messages if message.visible_at <= now]
        in_flight = sum(message.in_flight(now) for message in self._messages)
        return QueueStats(
            queue_name=self._spec.public_name,
            approximate_messages=len(waiting),
            inflight_messages=in_flight,
            delayed_messages=len(self._messages) - len(waiting) - in_flight,
            oldest_message_age=now - min(message.sent_at for message in waiting) if waiting else None,
            dead_letters=self._count_dead_letters(),
        )

    @override
    async def purge(self) -> int:
        now = self._clock.now()
        before = len(self._messages)
        self._messages = [message for message in self._messages if message.in_flight(now)]
        return before - len(self._messages)

    @override
    async def ping(self) -> None:
        return

    def _count_dead_letters(self) -> int | None:
        if self._dead_letters is None:
            return None
        return sum(message.origin == self._spec.public_name for message in self._dead_letters._messages)  # noqa: SLF001  # of the same class

    def _add(
        self,
        body: str,
        attributes: dict[str, str],
        group: str | None,
        scheduled_for: datetime | None = None,
        message_id: str | None = None,
    ) -> StoredMessage:
        now = self._clock.now()
        self._take_places(now)
        due = now if scheduled_for is None else max(now, scheduled_for)
        message = StoredMessage(
            message_id=message_id or f"memory-{next(self._ids)}",
            body=body,
            attributes=attributes,
            group=self._spec.group_of(group),
            sent_at=now,
            visible_at=due,
            place=next(self._places) if due <= now else None,
        )
        self._messages.append(message)
        self._polling.wake()
        return message

    def _take_places(self, now: datetime) -> None:
        """Give each delayed message that is due its place, before a later message takes one."""
        due = [message for message in self._messages if message.place is None and message.visible_at <= now]
        for message in sorted(due, key=lambda message: message.visible_at):
            message.place = next(self._places)

    def _receive_now(self, limit: int) -> ReceiveResult:
        now = self._clock.now()
        leased_at = self._clock.monotonic()
        self._take_places(now)
        deliveries: list[Delivery] = []
        while len(deliveries) < limit and (message := self._next()) is not None and message.visible_at <= now:
            if self._dead_letters is not None and message.receive_count >= self._spec.backend_receives:
                self._dead_letter(message, self._dead_letters)
            else:
                deliveries.append(self._deliver(message, now, leased_at))
        following = self._next()
        return ReceiveResult(deliveries, None if following is None else following.visible_at)

    def _next(self) -> StoredMessage | None:
        return min(heads(self._messages) if self._spec.fifo else self._messages, key=receive_order, default=None)

    def _dead_letter(self, message: StoredMessage, dead_letters: "InMemoryQueue") -> None:
        self._messages.remove(message)
        moved = dead_letters._add(  # noqa: SLF001  # of the same class
            message.body, message.attributes, message.group, message_id=message.message_id
        )
        moved.origin, moved.redriven = self._spec.public_name, True

    def _deliver(self, message: StoredMessage, now: datetime, leased_at: float) -> Delivery:
        message.receipt = f"{message.message_id}/{next(self._receipts)}"
        message.received_at = now
        message.receive_count += 1
        message.visible_at = now + self._spec.visibility_timeout
        delivery = Delivery(
            queue=self._spec.public_name,
            message_id=message.message_id,
            receipt_handle=message.receipt,
            body=message.body,
            receive_count=message.receive_count,
            leased_at=leased_at,
            group=message.group,
            sent_at=message.sent_at,
            source_queue=message.origin if message.redriven else None,
            attributes=message.attributes,
        )
        read_task(delivery, self._spec, self._serializer, now)
        return delivery

    def _held(self, delivery: Delivery) -> StoredMessage:
        for message in self._messages:
            if message.receipt == delivery.receipt_handle:
                return message
        raise VisibilityTimeoutError

    def _make_visible(self, message: StoredMessage, delay: timedelta) -> None:
        message.receipt = None
        message.visible_at = self._clock.now() + delay
        self._polling.wake()
