"""Several processes run as one, with real processes and real signals."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.processes.cli import PATIENCE, environment


@asynccontextmanager
async def supervisor(grace: float, *behaviours: str) -> AsyncIterator[Process]:
    """Run a supervisor over children of these behaviours, in a group of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.processes.supervised",
        str(grace),
        *behaviours,
        env=environment(),
        stdout=PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def lines_until(process: Process, *expected: str) -> list[str]:
    """Return the lines up to the one that completes ``expected``; pids are cut off."""
    lines: list[str] = []
    while not set(expected) <= set(lines):
        line = (await _stdout(process).readline()).decode()
        assert line, f"ended after {lines}"
        lines.append(line.strip().rstrip("0123456789").strip() if "runs" in line else line.strip())
    return lines


async def rest_of(process: Process) -> list[str]:
    """Return the lines up to the end, which comes when the last process with this output has ended."""
    return (await _stdout(process).read()).decode().splitlines()


def _stdout(process: Process) -> asyncio.StreamReader:
    assert process.stdout is not None
    return process.stdout


async def test_a_signal_stops_every_process_and_is_no_failure() -> None:
    """Each child hears SIGTERM once, whichever signal came."""
    for number in (signal.SIGINT, signal.SIGTERM):
        async with supervisor(60, "plain", "plain") as process:
            await lines_until(process, "0 runs", "1 runs", "supervisor runs")
            process.send_signal(number)

            assert ["0 hears", "1 hears", "outcome None"] == sorted(await rest_of(process))
            assert 0 == await process.wait()


async def test_a_child_that_ends_takes_the_others_with_it() -> None:
    """The exit code tells that one has failed, and the outcome which."""
    async with supervisor(60, "plain", "exit-7") as process:
        lines = await lines_until(process, "outcome 1")

        assert [] == await rest_of(process)
        assert lines.count("0 hears") <= 1  # none where the signal came before the child could listen
        assert 7 == await process.wait()


async def test_a_child_that_ends_without_an_error_is_a_failure_all_the_same() -> None:
    """A service that is no longer there is not a success."""
    async with supervisor(60, "exit-0", "plain") as process:
        await lines_until(process, "outcome 0")

        assert 1 == await process.wait()


async def test_a_killed_child_is_reported_as_a_shell_would() -> None:
    """128 and the number of the signal."""
    async with supervisor(60, "plain", "plain") as process:
        pid = 0
        while not pid:
            line = (await _stdout(process).readline()).split()
            pid = int(line[2]) if line[:2] == [b"0", b"runs"] else 0
        os.kill(pid, signal.SIGKILL)
        await lines_until(process, "outcome 0")

        assert 128 + signal.SIGKILL == await process.wait()


async def test_every_further_signal_is_passed_on() -> None:
    """The second one tells the children to hurry."""
    async with supervisor(60, "stubborn") as process:
        await lines_until(process, "0 runs", "supervisor runs")
        process.terminate()
        await lines_until(process, "0 hears")
        process.send_signal(signal.SIGINT)

        assert ["0 hears", "outcome None"] == await rest_of(process)
        assert 0 == await process.wait()


async def test_what_does_not_stop_is_killed_after_the_grace_period() -> None:
    """The supervisor always ends."""
    async with supervisor(0.01, "deaf", "plain") as process:
        await lines_until(process, "0 runs", "1 runs", "supervisor runs")
        process.terminate()
        await rest_of(process)

        assert 128 + signal.SIGKILL == await process.wait()


async def test_no_child_outlives_a_killed_supervisor() -> None:
    """The pipe to each child closes even then: it stops as after SIGTERM, and is killed where it hears none."""
    async with supervisor(60, "plain", "deaf") as process:
        await lines_until(process, "0 runs", "1 runs")
        process.kill()

        assert ["0 hears"] == [line for line in await rest_of(process) if line != f"supervisor runs {process.pid}"]
        with suppress(ProcessLookupError):
            process.kill()
