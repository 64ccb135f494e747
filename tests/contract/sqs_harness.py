"""The contract suite's view of queues at SQS, by way of LocalStack."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.domain.queues import Backend, QueueKind
from mcp_queue.ports import PauseSwitch, Queue
from tests.support.queues import Capabilities, QueueHarness, RawSerializer, make_spec, make_task
from tests.support.sqs import create_queue, sqs_backend, sqs_client

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

#: How much later than asked for the emulator ends a lease or a delay.
_LATE = timedelta(milliseconds=300)
_TRIES = 20


class SqsHarness:
    """Queues at SQS, on the machine's clock."""

    name = "sqs"
    capabilities = Capabilities(
        exact_counts=False,
        stale_receipts_raise=False,
        release_uncounts=False,
        any_delay=False,
        names_first_copy=False,
        ends_receives=False,
        fake_time=False,
    )
    patience = timedelta(seconds=3)

    def __init__(self, sqs: "SQSClient", stack: AsyncExitStack) -> None:
        """Create queues by ``sqs``; ``stack`` closes their backends."""
        self.clock = SystemClock()
        self._sqs = sqs
        self._stack = stack

    @property
    def pauses(self) -> PauseSwitch:
        """SQS remembers no paused queues: the ledger does."""
        pytest.skip("SQS has no pause switch")

    async def queue(self, **overrides: Any) -> tuple[Queue, Queue]:
        """Create a pair of queues, the first with a redrive policy to the second."""
        fifo = overrides.get("kind") is QueueKind.FIFO
        dlq_url = await create_queue(self._sqs, "dlq", fifo=fifo)
        spec = make_spec(**({"name": "work", "dead_letter_queue": "dlq"} | overrides | {"backend": Backend.SQS}))
        url = await create_queue(
            self._sqs,
            "work",
            fifo=fifo,
            dead_letters=dlq_url if spec.dead_letter_queue else None,
            max_receive_count=spec.max_receive_count,
        )
        spec = replace(spec, url=url)
        dlq_spec = make_spec("dlq", kind=spec.kind, backend=Backend.SQS, url=dlq_url)
        backend = sqs_backend(spec, dlq_spec, clock=self.clock, serializer=RawSerializer())
        await self._stack.enter_async_context(backend)
        return backend.queue("work"), backend.queue("dlq")

    async def put_raw(self, queue: Queue, body: str) -> None:
        """Send a body that is no task."""
        await queue.enqueue(make_task("raw", type="raw", payload=body))

    async def pass_time(self, duration: timedelta) -> None:
        """Wait: this backend's time is everybody's."""
        await self.clock.sleep((duration + _LATE).total_seconds())

    async def eventually(self, check: Callable[[], Awaitable[bool]]) -> None:
        """Look again until it holds: counts lag."""
        for _ in range(_TRIES):
            if await check():
                return
            await self.clock.sleep(_LATE.total_seconds())
        pytest.fail("it never came to hold")


@asynccontextmanager
async def sqs_harness() -> AsyncIterator[QueueHarness]:
    """Provide queues at the emulator that the environment names."""
    async with AsyncExitStack() as stack:
        sqs = await stack.enter_async_context(sqs_client())
        yield SqsHarness(sqs, stack)
