"""How much of a core a consumer takes that has nothing to do, with every ledger.

    python -m bench.idle_consumer                         # without a ledger, on SQLite, and on PostgreSQL
    python -m bench.idle_consumer --ledger none --seconds 60

Each is a real process on the embedded queue, measured one after the other once it has come to rest. Processor time is
read from ``/proc/<pid>/schedstat`` of all its threads, in nanoseconds: counted in ticks, what sleeps most of the time
would be off by half.
"""

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

import uvloop

from bench.gateway_post import LEDGERS, ledger
from bench.postgres import without_missing
from bench.processes import gateway_and_consumer
from mcp_queue.adapters.clock import SystemClock

REST = 5.0  # seconds from readiness until nothing of the start is left


def cpu(pid: int) -> float:
    """Return how much processor time all threads of a process have taken, in seconds."""
    return sum(int(each.read_text().split()[0]) for each in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


async def measure(kind: str, seconds: float) -> float:
    """Return the share of a core that an idle consumer takes."""
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(ledger(kind))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clock = SystemClock()
        _, consumer = gateway_and_consumer(directory, **({} if url is None else {"LEDGER_URL": url}))
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        assert consumer.process is not None
        await clock.sleep(REST)
        began, before = time.perf_counter(), cpu(consumer.process.pid)
        await clock.sleep(seconds)
        return (cpu(consumer.process.pid) - before) / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", nargs="+", choices=LEDGERS, default=LEDGERS)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each is measured")
    options = parser.parse_args()
    for kind in without_missing(options.ledger):
        share = uvloop.run(measure(kind, options.seconds))
        print(f"ledger {kind:<9} {share:.2%} of a core", flush=True)


if __name__ == "__main__":
    main()
