"""Runs several processes as one: when one of them ends or a signal arrives, all of them are stopped."""

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
class ChildCommand:
    """A process to start, with a name for messages.

    It must end when its standard input is closed: see ``parent_watch``.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The exit code. ``ended_first`` names the command that ended by itself, ``None`` after a signal."""

    exit_code: int
    ended_first: str | None = None


async def supervise(
    commands: Sequence[ChildCommand], announce: Callable[[], Awaitable[None]], grace: timedelta
) -> Outcome:
    """Run ``commands`` until one of them ends or SIGINT or SIGTERM arrives; call ``announce`` at the start.

    Every signal is passed on as SIGTERM; what still runs ``grace`` after the first one is killed.
    """
    processes: list[Process] = []
    with _signals() as signals:
        announcing = asyncio.ensure_future(announce())
        try:
            # One at a time: a signal in between stops those that have started.
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
    # A process that was still starting had no handler for the signal yet. That is not a failure.
    return Outcome(max(_exit_code(0 if code == -signal.SIGTERM else code) for code in codes))


@contextmanager
def _signals() -> Iterator["asyncio.Queue[None]"]:
    """Put every SIGINT and SIGTERM into the queue."""
    loop, signals = asyncio.get_running_loop(), asyncio.Queue[None]()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, signals.put_nowait, None)
    try:
        yield signals
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _start(command: ChildCommand) -> Process:
    return await asyncio.create_subprocess_exec(
        *command.arguments,
        env=dict(command.environment),
        stdin=PIPE,
        # A terminal sends Ctrl-C to its whole process group. The children get the signal from here alone, once.
        start_new_session=True,
    )


async def _first_end(processes: Sequence[Process], signals: "asyncio.Queue[None]") -> int | None:
    """Return the index of the process that ended first, ``None`` if a signal arrived before."""
    ends = [asyncio.ensure_future(process.wait()) for process in processes]
    signalled = asyncio.ensure_future(signals.get())
    try:
        await asyncio.wait([*ends, signalled], return_when=asyncio.FIRST_COMPLETED)
        return next((index for index, end in enumerate(ends) if end.done()), None)
    finally:
        for waiting in (*ends, signalled):
            waiting.cancel()


async def _stop(processes: Sequence[Process], signals: "asyncio.Queue[None]", grace: timedelta) -> None:
    forwarding = asyncio.ensure_future(_forward(processes, signals))
    try:
        signals.put_nowait(None)
        async with asyncio.timeout(grace.total_seconds()):
            for process in processes:
                await process.wait()
    except TimeoutError:
        return  # the caller kills what still runs
    finally:
        forwarding.cancel()


async def _forward(processes: Sequence[Process], signals: "asyncio.Queue[None]") -> None:
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
