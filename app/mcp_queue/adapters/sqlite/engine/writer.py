"""Applies commands in the thread that writes to the file; commands submitted together share a transaction.

Commands submitted while a group is under way form the next group: an idle backend commits at once, and a busy one pays
one synchronisation of the disk for all of them.
"""

import asyncio
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any

from mcp_queue.adapters.batching import GroupCollector, PendingItem
from mcp_queue.adapters.sqlite.engine.command import Outcome, WriteCommand
from mcp_queue.adapters.sqlite.engine.executor import Executor, GroupOutcome
from mcp_queue.adapters.sqlite.engine.file import QueueFile
from mcp_queue.adapters.sqlite.receive import LeasedRows, Receive
from mcp_queue.adapters.sqlite.settle import Receipt, Release
from mcp_queue.domain.errors import BackendUnavailableError
from mcp_queue.ports import Clock

# Rows of one transaction, about: later commands wait for their turn, and other processes for the lock.
_HEAVIEST_GROUP = 2000

_Group = Sequence["PendingItem[WriteCommand[Any], Any]"]


class Writer:
    """The one way into the file. To be used from one event loop."""

    def __init__(self, file: QueueFile, *, clock: Clock, on_arrival: Callable[[frozenset[str]], None]) -> None:
        """Call ``on_arrival`` with the names of queues that may have more to receive."""
        self._on_arrival = on_arrival
        self._closed = True
        self._inbox: SimpleQueue[_Group | None] = SimpleQueue()
        self._collector: GroupCollector[WriteCommand[Any], Any] = GroupCollector(
            self._inbox.put, _HEAVIEST_GROUP, drop_cancelled=True
        )
        self._executor = Executor(file, clock)

    def start(self) -> None:
        """Take commands from the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._work, name="embedded-queue-writer", daemon=True)
        self._thread.start()
        self._closed = False

    def submit(self, command: WriteCommand[Outcome]) -> "asyncio.Future[Outcome]":
        """Apply ``command``; cancelling the future before its group has started withdraws the command."""
        if self._closed:
            raise BackendUnavailableError("the embedded queue is closed")
        return self._collector.submit(command, command.weight)

    async def receive(self, command: Receive) -> LeasedRows:
        """Lease messages. They are released if the caller was cancelled meanwhile."""
        leased = self.submit(command)
        try:
            return await asyncio.shield(leased)
        except asyncio.CancelledError:
            leased.add_done_callback(self._release)
            raise

    def refuse(self) -> None:
        """Take no more commands."""
        self._closed = True

    async def close(self) -> None:
        """Take no more commands, finish those that were submitted, and end the thread."""
        self.refuse()
        await self._collector.drain()
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _release(self, leased: "asyncio.Future[LeasedRows]") -> None:
        if leased.exception() is not None:
            return
        for row in leased.result().rows:
            # Also while closing. Where it fails, the lease ends by itself.
            released = self._collector.submit(Release(Receipt(row.seq, leased.result().receipt)))
            released.add_done_callback(asyncio.Future.exception)

    def _work(self) -> None:
        while (group := self._inbox.get()) is not None:
            outcome = self._executor.run([pending.item for pending in group])
            try:
                self._loop.call_soon_threadsafe(self._finish, group, outcome)
            except RuntimeError:  # the loop is closed: no caller waits any more
                break
        self._executor.close()

    def _finish(self, group: _Group, done: GroupOutcome) -> None:
        for pending, outcome in zip(group, done.outcomes, strict=True):
            if isinstance(outcome, Exception):
                pending.fail(outcome)
            else:
                pending.resolve(outcome)
        if done.woken:
            self._on_arrival(done.woken)
        self._collector.group_ended()
