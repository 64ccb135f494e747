"""Runs several processes as one: they start together, and when one ends or a signal comes, all of them end."""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class Command:
    """A process to run: its name for people, its arguments and its environment.

    It must end when its standard input does: see ``lifeline``.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended. ``culprit`` is the command that ended by itself, ``None`` where a signal ended all."""

    exit_code: int
    culprit: str | None = None


async def supervise(commands: Sequence[Command], announce: Callable[[], Awaitable[None]], grace: timedelta) -> Outcome:
    """Run ``commands``, and ``announce`` beside them, until one of them ends or SIGINT or SIGTERM comes.

    Every signal is passed on as SIGTERM; what still runs ``grace`` after the first one is killed.
    """
    processes: list[Process] = []
    with _signals() as signals:
        announcing = asyncio.ensure_future(announce())
        try:
            # One after the other: a signal that comes in between finds those that have started.
            for command in commands:
                processes.append(await _start(command))  # noqa: PERF401  # an exception must not lose the list
            ended = await _first_end(processes, signals)
            announcing.cancel()
            await _stop(processes, signals, grace)
        finally:
            announcing.cancel()
            await _kill(processes)
    codes = [process.returncode or 0 for process in processes]
    if ended is not None:
        return Outcome(_exit_code(codes[ended]) or 1, commands[ended].name)
    # Who was still starting had no handler for the signal yet: that is no failure.
    return Outcome(max(_exit_code(0 if code == -signal.SIGTERM else code) for code in codes))


@contextmanager
def _signals() -> Iterator["asyncio.Queue[None]"]:
    """Collect SIGINT and SIGTERM instead of ending by them."""
    loop, signals = asyncio.get_running_loop(), asyncio.Queue[None]()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, signals.put_nowait, None)
    try:
        yield signals
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _start(command: Command) -> Process:
    return await asyncio.create_subprocess_exec(
        *command.arguments,
        env=dict(command.environment),
        stdin=PIPE,
        # Ctrl-C goes to every process of the terminal's group: the children hear of it from us alone, once.
        start_new_session=True,
    )


async def _first_end(processes: Sequence[Process], signals: "asyncio.Queue[None]") -> int | None:
    """Return the index of the process that ended first, ``None`` where a signal came before."""
    ends = [asyncio.ensure_future(process.wait()) for process in processes]
    signalled = asyncio.ensure_future(signals.get())
    try:
        await asyncio.wait([*ends, signalled], return_when=asyncio.FIRST_COMPLETED)
        return next((index for index, end in enumerate(ends) if end.done()), None)
    finally:
        for waiting in (*ends, signalled):
            waiting.cancel()


async def _stop(processes: Sequence[Process], signals: "asyncio.Queue[None]", grace: timedelta) -> None:
    passing_on = asyncio.ensure_future(_pass_on(processes, signals))
    try:
        signals.put_nowait(None)
        async with asyncio.timeout(grace.total_seconds()):
            for process in processes:
                await process.wait()
    except TimeoutError:
        return  # what still runs is killed
    finally:
        passing_on.cancel()


async def _pass_on(processes: Sequence[Process], signals: "asyncio.Queue[None]") -> None:
    while True:
        await signals.get()
        for process in processes:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.terminate()


async def _kill(processes: Sequence[Process]) -> None:
    for process in processes:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _exit_code(code: int) -> int:
    """Return the code as a shell reports it."""
    return code if code >= 0 else _SIGNALLED - code
