"""Processes to be supervised: ``python -m tests.support.processes.supervised``, started by the tests of the supervisor.

The arguments of the supervisor are the grace period in seconds and one behaviour for each child. Every process says
what happens to it in a line on the standard output; children share the supervisor's.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta

from mcp_queue.cli.processes.parent_watch import stop_with_stdin
from mcp_queue.cli.processes.supervisor import ChildCommand, supervise


def say(*words: object) -> None:
    """Print a line at once and in one piece."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def child(name: str, behaviour: str) -> int:
    """Live until SIGTERM, twice for ``stubborn``; ``deaf`` hears none, and ``exit-N`` ends by itself."""
    heard = asyncio.Semaphore(0)
    if behaviour != "deaf":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, heard.release)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stop_with_stdin(timedelta(seconds=0 if behaviour == "deaf" else 60))
    say(name, "runs", os.getpid())
    if behaviour.startswith("exit-"):
        return int(behaviour.removeprefix("exit-"))
    for _ in range(2 if behaviour == "stubborn" else 1):
        await heard.acquire()
        say(name, "hears")
    return 0


async def main(arguments: Sequence[str]) -> int:
    """Supervise children of these behaviours, or be one of them."""
    if arguments[0] == "child":
        return await child(*arguments[1:])
    grace, *behaviours = arguments
    commands = [
        ChildCommand(
            str(index),
            [sys.executable, "-m", "tests.support.processes.supervised", "child", str(index), text],
            os.environ,
        )
        for index, text in enumerate(behaviours)
    ]

    async def announce() -> None:
        say("supervisor runs", os.getpid())

    outcome = await supervise(commands, announce, timedelta(seconds=float(grace)))
    say("outcome", outcome.ended_first)
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
