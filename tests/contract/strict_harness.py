"""The contract suite's view of queues at a strict SQS in memory, on a clock that tests move."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from mcp_queue.domain.queues import Backend, QueueKind
from mcp_queue.ports import PauseSwitch, Queue
from tests.support.aws.strict_world import ServiceWorld, redrive_policy
from tests.support.clock import NOW
from tests.support.queues.harness import Capabilities, QueueHarness, spec_of


class StrictHarness:
    """Queues of the SQS adapter on a service that takes nothing which SQS refuses."""

    name = "strict"
    capabilities = Capabilities(
        exact_counts=False,
        stale_receipts_raise=False,
        release_uncounts=False,
        any_delay=False,
        names_first_copy=False,
        ends_receives=False,
        fake_time=True,
    )
    patience = NOW

    def __init__(self) -> None:
        """Start with no queue."""
        self.world = ServiceWorld()
        self.clock = self.world.clock
        self._numbers = count(1)

    @property
    def pauses(self) -> PauseSwitch:
        """SQS remembers no paused queues: the ledger does."""
        pytest.skip("SQS has no pause switch")

    async def queue(self, **overrides: Any) -> tuple[Queue, Queue]:
        """Create a pair of queues, the first with a redrive policy to the second."""
        number, fifo = next(self._numbers), overrides.get("kind") is QueueKind.FIFO
        suffix = ".fifo" if fifo else ""
        spec = spec_of(**({"name": "work", "dead_letter_queue": "dlq"} | overrides | {"backend": Backend.SQS}))
        dlq_url = self.world.sqs.create(f"dlq-{number}{suffix}")
        policy = redrive_policy(f"dlq-{number}{suffix}", spec.backend_receives)
        attributes = {"RedrivePolicy": policy} if spec.dead_letter_queue else {}
        url = self.world.sqs.create(f"work-{number}{suffix}", **attributes)
        self.world.name_queue(url, spec.public_name)
        dlq_spec = spec_of("dlq", kind=spec.kind, backend=Backend.SQS, url=dlq_url)
        work = await self.world.open(replace(spec, url=url), dlq_spec if spec.dead_letter_queue else None)
        return work, await self.world.open(dlq_spec, None)

    async def put_raw(self, queue: Queue, body: str) -> None:
        """Send a body that is no task."""
        assert queue.spec.url is not None
        await self.world.put(queue.spec.url.rpartition("/")[2], body)

    async def pass_time(self, duration: timedelta) -> None:
        """Move the clock."""
        await self.clock.advance(duration)

    async def eventually(self, check: Callable[[], Awaitable[bool]]) -> None:
        """Look once: this service counts at once."""
        assert await check()


@asynccontextmanager
async def strict_harness() -> AsyncIterator[QueueHarness]:
    """Provide queues at a strict SQS."""
    yield StrictHarness()
