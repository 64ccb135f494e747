"""A queue in memory."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count

from mcp_queue.adapters.memory.messages import FirstCopies, MemoryMessage, heads, turn
from mcp_queue.adapters.messages import TRACEPARENT, attributes_of, attributes_of_raw, body_within_limit, read_body
from mcp_queue.adapters.polling import Arrivals, Catch
from mcp_queue.domain.delivery import Accepted, DeadLetterMessage, Delivery, Requeued
from mcp_queue.domain.errors import NotSupportedError, QueueError, QueueFullError, VisibilityTimeoutError
from mcp_queue.domain.formats.serialization import MessageFacts, TaskSerializer
from mcp_queue.domain.queues import MAX_LEASE, QueueSpec, QueueStats, QueueTraits
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock


class MemoryQueue:
    """Implements ``Queue``. Nothing survives the process."""

    def __init__(
        self,
        spec: QueueSpec,
        *,
        clock: Clock,
        serializer: TaskSerializer,
        dead_letters: "MemoryQueue | None" = None,
    ) -> None:
        """Make an empty queue whose failed messages move to ``dead_letters``."""
        self._spec = spec
        self._clock = clock
        self._serializer = serializer
        self._dead_letters = dead_letters
        self._messages: list[MemoryMessage] = []
        self._first_copies = FirstCopies()
        self._places, self._ids, self._receipts = count(), count(1), count(1)
        self._arrivals = Arrivals(clock)

    @property
    def spec(self) -> QueueSpec:
        """The configuration of this queue."""
        return self._spec

    @property
    def traits(self) -> QueueTraits:
        """It holds any delay, rewrites messages and, with a dead-letter queue, moves them by itself."""
        return QueueTraits(backend_redrives=self._dead_letters is not None)

    async def enqueue(self, task: Task) -> Accepted:
        """Put ``task`` into the queue."""
        body = body_within_limit(task, self._spec, self._serializer)
        if self._spec.fifo and (first := self._first_copies.of(task, self._clock.now())) is not None:
            return first
        if self._spec.max_depth is not None and len(self._messages) >= self._spec.max_depth:
            raise QueueFullError
        message = self._add(body, attributes_of(task), task.group, task.scheduled_for)
        if self._spec.fifo:
            self._first_copies.remember(task, message.message_id, self._clock.now())
        return Accepted(message.message_id)

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Put many tasks into the queue, each with its own verdict."""
        verdicts: list[Accepted | QueueError] = []
        for task in tasks:
            try:
                verdicts.append(await self.enqueue(task))
            except QueueError as error:
                verdicts.append(error)
        return verdicts

    async def receive(self, limit: int, wait: timedelta) -> list[Delivery]:
        """Receive up to ``limit`` messages; wait for the first one."""

        async def look() -> Catch:
            return self._look(limit)

        return await self._arrivals.poll(look, wait)

    def stop_waiting(self) -> None:
        """Let receives return without waiting."""
        self._arrivals.stop_waiting()

    async def complete(self, delivery: Delivery) -> None:
        """Delete the message."""
        self._messages.remove(self._held(delivery))
        self._arrivals.wake()

    async def retry(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        """Give the message back to run as ``task`` after ``delay``."""
        message = self._held(delivery)
        message.body, message.attributes = self._serializer.dumps(task), attributes_of(task)
        message.receive_count = 0
        self._make_visible(message, delay)
        return Requeued.REWRITTEN

    async def defer(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        """Give the message back like a retry: whether an attempt was counted stands in ``task``."""
        return await self.retry(delivery, task, delay)

    async def release(self, delivery: Delivery) -> None:
        """Give the message back unprocessed."""
        message = self._held(delivery)
        message.receive_count -= 1
        self._make_visible(message, timedelta(0))

    async def extend(self, delivery: Delivery, lease: timedelta) -> None:
        """Hide the message for ``lease`` from now."""
        message = self._held(delivery)
        until = self._clock.now() + lease
        if message.received_at is None or until > message.received_at + MAX_LEASE:
            raise VisibilityTimeoutError("a lease ends 12 hours after the receive at the latest")
        message.visible_at = until
        self._arrivals.wake()

    async def dead_letter(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
        """Move the message to the dead-letter queue as ``dead_letter``."""
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
        self._arrivals.wake()

    async def stats(self) -> QueueStats:
        """Count what lies in the queue."""
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

    async def purge(self) -> int:
        """Delete what is not in flight."""
        now = self._clock.now()
        before = len(self._messages)
        self._messages = [message for message in self._messages if message.in_flight(now)]
        return before - len(self._messages)

    async def ping(self) -> None:
        """Return: memory always answers."""

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
    ) -> MemoryMessage:
        now = self._clock.now()
        self._take_places(now)
        due = now if scheduled_for is None else max(now, scheduled_for)
        message = MemoryMessage(
            message_id=message_id or f"memory-{next(self._ids)}",
            body=body,
            attributes=attributes,
            group=self._spec.group_of(group),
            sent_at=now,
            visible_at=due,
            place=next(self._places) if due <= now else None,
        )
        self._messages.append(message)
        self._arrivals.wake()
        return message

    def _take_places(self, now: datetime) -> None:
        """Line up what has come due, before anything later takes a place."""
        due = [message for message in self._messages if message.place is None and message.visible_at <= now]
        for message in sorted(due, key=lambda message: message.visible_at):
            message.place = next(self._places)

    def _look(self, limit: int) -> Catch:
        now = self._clock.now()
        leased_at = self._clock.monotonic()
        self._take_places(now)
        deliveries: list[Delivery] = []
        while len(deliveries) < limit and (message := self._next()) is not None and message.visible_at <= now:
            if self._dead_letters is not None and message.receive_count >= self._spec.max_receive_count:
                self._dead_letter(message, self._dead_letters)
            else:
                deliveries.append(self._deliver(message, now, leased_at))
        following = self._next()
        return Catch(deliveries, None if following is None else following.visible_at)

    def _next(self) -> MemoryMessage | None:
        return min(heads(self._messages) if self._spec.fifo else self._messages, key=turn, default=None)

    def _dead_letter(self, message: MemoryMessage, dead_letters: "MemoryQueue") -> None:
        self._messages.remove(message)
        moved = dead_letters._add(  # noqa: SLF001  # of the same class
            message.body, message.attributes, message.group, message_id=message.message_id
        )
        moved.origin, moved.redriven = self._spec.public_name, True

    def _deliver(self, message: MemoryMessage, now: datetime, leased_at: float) -> Delivery:
        message.receipt = f"{message.message_id}/{next(self._receipts)}"
        message.received_at = now
        message.receive_count += 1
        message.visible_at = now + self._spec.visibility_timeout
        facts = MessageFacts(
            message_id=message.message_id,
            queue=self._spec.public_name,
            sent_at=message.sent_at,
            max_retries=self._spec.max_retries,
            group=message.group,
            traceparent=message.attributes.get(TRACEPARENT),
        )
        task, poison = read_body(message.body, facts, self._serializer)
        return Delivery(
            queue=self._spec.public_name,
            message_id=message.message_id,
            receipt_handle=message.receipt,
            body=message.body,
            receive_count=message.receive_count,
            leased_at=leased_at,
            task=task,
            poison=poison,
            group=message.group,
            sent_at=message.sent_at,
            source_queue=message.origin if message.redriven else None,
            attributes=message.attributes,
        )

    def _held(self, delivery: Delivery) -> MemoryMessage:
        for message in self._messages:
            if message.receipt == delivery.receipt_handle:
                return message
        raise VisibilityTimeoutError

    def _make_visible(self, message: MemoryMessage, delay: timedelta) -> None:
        message.receipt = None
        message.visible_at = self._clock.now() + delay
        self._arrivals.wake()
