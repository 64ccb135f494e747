"""One thread that writes, and groups of commands that share its transactions.

The group under way collects the next one: an idle backend commits at once, a busy one pays one synchronisation of the
disk for everything that was asked for meanwhile.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from mcp_queue.adapters.sqlite.engine.command import Command, Outcome
from mcp_queue.adapters.sqlite.engine.executor import Done, Executor
from mcp_queue.adapters.sqlite.receive import Found, Receive
from mcp_queue.adapters.sqlite.settle import Receipt, Release
from mcp_queue.domain.errors import BackendUnavailableError
from mcp_queue.ports import Clock

# Rows of one transaction, about: what comes later waits for its turn, and so does another process for the lock.
_HEAVIEST_GROUP = 2000


class _Asked(NamedTuple):
    command: "Command[Any]"
    answer: "asyncio.Future[Any]"


class Writer:
    """The one way into the file. To be used from one event loop."""

    def __init__(
        self, path: Path, *, clock: Clock, busy_timeout: timedelta, on_arrival: Callable[[frozenset[str]], None]
    ) -> None:
        """Write to ``path``; call ``on_arrival`` with the names of queues that may have more to receive."""
        self._on_arrival = on_arrival
        self._waiting: deque[_Asked] = deque()
        self._under_way = False
        self._scheduled = False
        self._closed = True
        self._idle = asyncio.Event()
        self._idle.set()
        self._inbox: SimpleQueue[list[_Asked] | None] = SimpleQueue()
        self._executor = Executor(path, clock, busy_timeout)

    def start(self) -> None:
        """Take commands from the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._work, name="embedded-queue-writer", daemon=True)
        self._thread.start()
        self._closed = False

    def submit(self, command: Command[Outcome]) -> "asyncio.Future[Outcome]":
        """Ask for ``command``; cancelling the answer before it is under way withdraws it."""
        if self._closed:
            raise BackendUnavailableError("the embedded queue is closed")
        return self._ask(command)

    async def receive(self, command: Receive) -> Found:
        """Ask for messages. Those taken for a caller who was cancelled meanwhile are given back."""
        taken = self.submit(command)
        try:
            return await asyncio.shield(taken)
        except asyncio.CancelledError:
            taken.add_done_callback(self._give_back)
            raise

    def refuse(self) -> None:
        """Take no more commands."""
        self._closed = True

    async def close(self) -> None:
        """Take no more commands, finish those that were asked for, and end the thread."""
        self.refuse()
        await self._idle.wait()
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _ask(self, command: Command[Outcome]) -> "asyncio.Future[Outcome]":
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting.append(_Asked(command, answer))
        self._idle.clear()
        self._schedule()
        return answer

    def _give_back(self, taken: "asyncio.Future[Found]") -> None:
        if taken.exception() is not None:
            return
        for row in taken.result().rows:
            # Also while closing. Where it fails, the lease ends by itself.
            answer = self._ask(Release(Receipt(row.seq, taken.result().receipt)))
            answer.add_done_callback(asyncio.Future.exception)

    def _schedule(self) -> None:
        if not self._under_way and not self._scheduled:
            self._scheduled = True
            # At the end of this turn of the loop, so that everything asked for in it shares the transaction.
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._scheduled = False
        group = self._next_group()
        if group:
            self._under_way = True
            self._inbox.put(group)
        else:
            self._idle.set()

    def _next_group(self) -> list[_Asked]:
        group: list[_Asked] = []
        weight = 0
        while self._waiting and weight < _HEAVIEST_GROUP:
            asked = self._waiting.popleft()
            if not asked.answer.cancelled():
                group.append(asked)
                weight += asked.command.weight
        return group

    def _work(self) -> None:
        while (group := self._inbox.get()) is not None:
            done = self._executor.run([asked.command for asked in group])
            try:
                self._loop.call_soon_threadsafe(self._finish, group, done)
            except RuntimeError:  # the loop is closed: nobody waits any more
                break
        self._executor.close()

    def _finish(self, group: Sequence[_Asked], done: Done) -> None:
        self._under_way = False
        for (_, answer), outcome in zip(group, done.outcomes, strict=True):
            if answer.cancelled():
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)
        if done.woken:
            self._on_arrival(done.woken)
        self._schedule()
