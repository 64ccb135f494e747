"""Ends a piece of work at one await of it, as a cancellation or as the death of its process."""

import asyncio
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from enum import Enum, auto
from inspect import iscoroutinefunction
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Interruption(Enum):
    """What happens at the await."""

    CANCEL = auto()  #: the work is cancelled, and may still do what it does then
    CRASH = auto()  #: its process dies: nothing that it asks for after that happens


class Life:
    """Whether a process lives; and whether it is inside a transaction, whose awaits count only where asked for."""

    def __init__(self) -> None:
        """Be alive."""
        self.over = False
        self.in_transaction = False


class _Gate:
    """The way from a process to something outside, with an await after each call."""

    def __init__(self, target: object, life: Life, *, transactional: bool) -> None:
        self._target = target
        self._life = life
        self._transactional = transactional

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._target, name)
        if not iscoroutinefunction(member):
            return member

        async def call(*arguments: object, **named: object) -> object:
            if self._life.over:
                raise asyncio.CancelledError
            self._life.in_transaction = self._transactional
            try:
                answer = await member(*arguments, **named)
            finally:
                self._life.in_transaction = False
            # What was asked for has happened, and the answer is on its way.
            await asyncio.sleep(0)
            return answer

        return call


def gated(target: T, life: Life, *, transactional: bool = False) -> T:
    """Return ``target`` as a process reaches it: with an await after each call, and not after its death.

    Where a call is ``transactional``, what happens inside it happens as a whole or not at all.
    """
    return cast("T", _Gate(target, life, transactional=transactional))


@dataclass(slots=True)
class Ended(Generic[T]):
    """How work ended: with an answer, with an error, or ``interrupted``."""

    interrupted: bool
    answer: T | None = None
    error: BaseException | None = None

    @property
    def finished(self) -> bool:
        """Whether it did what it was asked for."""
        return self.error is None


class _Stepped(Generic[T]):
    """Counts the times that a coroutine waits, and interrupts it at one of them."""

    def __init__(
        self, work: Coroutine[Any, Any, T], at: int, how: Interruption, life: Life, *, in_transactions: bool
    ) -> None:
        self._work = work
        self._in_transactions = in_transactions
        self._at = at
        self._how = how
        self._life = life
        self._awaits = 0
        self.interrupted = False

    def __await__(self) -> Generator[Any, Any, T]:
        waiting = self._work.__await__()
        error: BaseException | None = None
        while True:
            try:
                awaited = next(waiting) if error is None else waiting.throw(error)
            except StopIteration as end:
                return cast("T", end.value)
            if self._in_transactions or not self._life.in_transaction:
                self._awaits += 1
                if self._awaits == self._at:
                    self._interrupt()
            try:
                yield awaited
                error = None
            except BaseException as thrown:  # noqa: BLE001  # cancellation above all: the work handles it
                error = thrown

    def _interrupt(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "it runs in a task"
        self.interrupted = True
        self._life.over = self._how is Interruption.CRASH
        task.cancel()


async def interrupt(
    work: Coroutine[Any, Any, T], at: int, how: Interruption, life: Life, *, in_transactions: bool
) -> Ended[T]:
    """Run ``work`` up to the ``at``-th time that it waits (from 1), and interrupt it there if it gets so far."""
    stepped = _Stepped(work, at, how, life, in_transactions=in_transactions)

    async def run() -> T:
        return await stepped

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if task.cancelled():
        return Ended(stepped.interrupted, error=asyncio.CancelledError())
    error = task.exception()
    if error is not None:
        return Ended(stepped.interrupted, error=error)
    return Ended(stepped.interrupted, answer=task.result())
