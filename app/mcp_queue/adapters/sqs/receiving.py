"""Receives messages and makes deliveries of them."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from mcp_queue.adapters.sqs.api.channel import Channel
from mcp_queue.adapters.sqs.api.limits import MAX_BATCH_ENTRIES, MAX_WAIT
from mcp_queue.adapters.sqs.messages import SqsDelivery, received
from mcp_queue.adapters.sqs.payloads import Payloads, UnreadablePayloadError
from mcp_queue.adapters.sqs.setup.info import POLLS_PER_LEASE
from mcp_queue.domain.errors import BackendUnavailableError, PayloadDeniedError, QueueError
from mcp_queue.domain.formats.serialization import TaskSerializer
from mcp_queue.domain.messages import read_task
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.ports import Clock

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import MessageTypeDef

logger = logging.getLogger(__name__)

#: How long a message is deferred while the payload store cannot return its body.
PAYLOAD_PAUSE: Final = timedelta(seconds=30)
#: How long a body is waited for that the store refuses, or that it does not answer for. A FIFO group waits as long.
DENIED_PATIENCE: Final = timedelta(minutes=5)
OUTAGE_PATIENCE: Final = timedelta(hours=1)
#: How many bodies are waited for at the same time; beyond it the one that was asked for longest ago begins anew.
AWAITED_BODIES: Final = 10_000
#: How long closing waits for polls whose caller was cancelled, to give back their messages.
CLOSE_GRACE: Final = timedelta(seconds=2)

ReturnUnread = Callable[[SqsDelivery, timedelta], Awaitable[None]]


def longest_wait(spec: QueueSpec) -> timedelta:
    """Return how long a poll of a queue may last."""
    return min(MAX_WAIT, spec.visibility_timeout / POLLS_PER_LEASE)


class SqsReceiver:
    """Receives from one queue, and gives back messages whose receiver was cancelled."""

    def __init__(
        self,
        spec: QueueSpec,
        channel: Channel,
        *,
        serializer: TaskSerializer,
        payloads: Payloads,
        clock: Clock,
        names: Mapping[str, str],
        return_unread: ReturnUnread,
    ) -> None:
        """Name source queues by ``names``, from ARN to public name; return messages by ``return_unread``."""
        self._spec = spec
        self._channel = channel
        self._serializer = serializer
        self._payloads = payloads
        self._clock = clock
        self._names = names
        self._return_unread = return_unread
        self._awaited: OrderedDict[str, float] = OrderedDict()
        self._stopped = False
        self._under_way: set[asyncio.Task[Any]] = set()

    async def receive(self, limit: int, wait: timedelta) -> list[SqsDelivery]:
        """Receive as the port describes it.

        The lease counts from before the poll, since nobody knows when during it SQS found the message. A poll therefore
        lasts at most a third of the lease, and a longer wait is several polls.

        SQS cannot cancel a poll: it would still hide the messages that it was about to return. So the poll goes on when
        its caller is cancelled, and its messages are given back.
        """
        given_up = asyncio.Event()
        poll = asyncio.create_task(self._poll_for(min(limit, MAX_BATCH_ENTRIES), min(wait, MAX_WAIT), given_up))
        self._track(poll)
        try:
            return await asyncio.shield(poll)
        except asyncio.CancelledError:
            given_up.set()
            self._track(asyncio.create_task(self._return_all(poll)))
            raise

    async def aclose(self) -> None:
        """Wait briefly for polls whose caller was cancelled, then cancel them."""
        late: set[asyncio.Task[Any]] = set()
        while self._under_way and not late:
            _, late = await asyncio.wait(self._under_way, timeout=CLOSE_GRACE.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _track(self, task: asyncio.Task[Any]) -> None:
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def stop_waiting(self) -> None:
        """Let no wait begin another poll."""
        self._stopped = True

    async def _poll_for(self, limit: int, wait: timedelta, given_up: asyncio.Event) -> list[SqsDelivery]:
        longest, deadline = longest_wait(self._spec), self._clock.monotonic() + wait.total_seconds()
        left = wait
        while left > longest:
            deliveries = await self._poll(limit, longest)
            if deliveries or self._stopped or given_up.is_set():
                return deliveries
            left = timedelta(seconds=deadline - self._clock.monotonic())
        return await self._poll(limit, max(left, timedelta(0)))

    async def _poll(self, limit: int, wait: timedelta) -> list[SqsDelivery]:
        leased_at = self._clock.monotonic()
        messages = await self._channel.receive(limit, wait, self._spec.visibility_timeout)
        deliveries = [self._delivery(message, leased_at) for message in messages]
        deliveries = await self._with_bodies(deliveries)
        now = self._clock.now()
        for delivery in deliveries:
            if delivery.poison is None:
                read_task(delivery, self._spec, self._serializer, now)
        return deliveries

    def _delivery(self, message: "MessageTypeDef", leased_at: float) -> SqsDelivery:
        delivery = received(message, self._spec, leased_at)
        source = message.get("Attributes", {}).get("DeadLetterQueueSourceArn")
        if source is not None:
            delivery.source_queue = self._names.get(source, source.rpartition(":")[2])
        return delivery

    async def _with_bodies(self, deliveries: list[SqsDelivery]) -> list[SqsDelivery]:
        """Fetch bodies from the store; return the deliveries that can be read, or never will be.

        The others are given back. Where that fails too, their lease does it.
        """
        stored = [delivery for delivery in deliveries if Payloads.stored(delivery.wire)]
        if not stored:
            return deliveries
        fetched = await asyncio.gather(*(self._fetch(delivery) for delivery in stored), return_exceptions=True)
        missing = {delivery for delivery, done in zip(stored, fetched, strict=True) if done is not True}
        for error in fetched:
            if isinstance(error, BaseException):
                logger.error("a payload could not be fetched", exc_info=error, extra={"queue": self._spec.public_name})
        groups = {delivery.group for delivery in missing} if self._spec.fifo else set()
        back: list[tuple[SqsDelivery, timedelta]] = []
        for delivery in deliveries:
            if delivery in missing:
                back.append((delivery, PAYLOAD_PAUSE))
            elif delivery.group in groups:  # it must not overtake the one before it
                back.append((delivery, timedelta(0)))
        await asyncio.gather(*(self._give_back(delivery, pause) for delivery, pause in back))
        returned = {delivery for delivery, _ in back}
        return [delivery for delivery in deliveries if delivery not in returned]

    async def _give_back(self, delivery: SqsDelivery, pause: timedelta) -> None:
        try:
            await self._return_unread(delivery, pause)
        except QueueError as error:
            logger.warning("a message waits for its lease to end: %s", error, extra={"queue": self._spec.public_name})

    async def _fetch(self, delivery: SqsDelivery) -> bool:
        try:
            delivery.body = await self._payloads.body_of(delivery.wire)
        except UnreadablePayloadError as error:
            delivery.poison = str(error)
        except BackendUnavailableError as error:
            if self._given_up(delivery, error):
                return True
            logger.warning("payload not available: %s", error, extra={"queue": self._spec.public_name})
            return False
        self._awaited.pop(delivery.wire.body, None)
        return True

    def _given_up(self, delivery: SqsDelivery, error: BackendUnavailableError) -> bool:
        """Return whether a body was waited for long enough: then the message is poison.

        Messages that are sent again keep their pointer, so that it is what tells them apart. A restart begins anew.
        """
        now, pointer = self._clock.monotonic(), delivery.wire.body
        since = self._awaited.setdefault(pointer, now)
        self._awaited.move_to_end(pointer)
        if len(self._awaited) > AWAITED_BODIES:
            self._awaited.popitem(last=False)
        patience = DENIED_PATIENCE if isinstance(error, PayloadDeniedError) else OUTAGE_PATIENCE
        if now - since < patience.total_seconds():
            return False
        del self._awaited[pointer]
        delivery.unread, delivery.poison = True, f"its body could not be fetched for {patience}: {error}"
        return True

    async def _return_all(self, poll: asyncio.Task[list[SqsDelivery]]) -> None:
        try:
            deliveries = await poll
        except QueueError as error:
            logger.warning("a cancelled receive failed: %s", error, extra={"queue": self._spec.public_name})
            return
        await asyncio.gather(*(self._give_back(delivery, timedelta(0)) for delivery in deliveries))
