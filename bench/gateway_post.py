"""How many single POSTs a second one gateway takes on the embedded queue, and what the ledger costs of that.

    python -m bench.gateway_post                          # without a ledger, on SQLite, and on PostgreSQL
    python -m bench.gateway_post --ledger none            # beside an empty FastAPI route alone

All servers are real processes that run side by side and are loaded in turns, so that whatever else the machine does
hits all alike. The figures that count are the ratios: to an empty route with the same body model, which is to be 60 %
at least without a ledger, and to the gateway without a ledger, which is to be 70 % at least. ``us each`` is processor
time of the server's own process for each request, roughly.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench.http_load import WARM_UP, load, post
from bench.postgres import migrated_postgres, without_missing
from bench.processes import ROOT, gateway_and_consumer

REQUEST = post(
    {
        "type": "embedding",
        "payload": {"text": "The quick brown fox jumps over the lazy dog", "model": "text-embedding-3-small"},
        "metadata": {"source": "bench"},
        "priority": 1,
    }
)
REFERENCE = "empty route"
LEDGERS = ("none", "sqlite", "postgres")


@dataclass(frozen=True)
class Server:
    """A process that serves the route at ``port``."""

    port: int
    pid: int

    def cpu(self) -> float:
        """Return how much processor time it has taken, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def empty_route() -> Iterator[Server]:
    """Serve the route that others are measured by."""
    command = [sys.executable, "-m", "bench.http_load"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()), process.pid)
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def gateway(directory: str, ledger_url: str | None) -> AsyncIterator[Server]:
    """Serve a gateway with a ledger, by default the one of a new user."""
    service, _ = gateway_and_consumer(Path(directory), **({} if ledger_url is None else {"LEDGER_URL": ledger_url}))
    try:
        await service.start()
        assert service.process is not None
        yield Server(service.port, service.process.pid)
    finally:
        await service.stop()


@contextlib.asynccontextmanager
async def ledger(kind: str) -> AsyncIterator[str | None]:
    """Provide the URL of a ledger of this kind."""
    if kind != "postgres":
        yield "none" if kind == "none" else None
        return
    async with migrated_postgres() as url:
        yield url


@dataclass
class Figures:
    """What a server did in each round: answers a second, and its processor time for each, in seconds."""

    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)


async def compare(ledgers: Sequence[str], rounds: int, seconds: float) -> dict[str, Figures]:
    """Load the servers in turns and print every round; a first one, in which they warm up, does not count."""
    async with contextlib.AsyncExitStack() as stack:
        servers = {REFERENCE: stack.enter_context(empty_route())}
        for kind in ledgers:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            url = await stack.enter_async_context(ledger(kind))
            servers[f"ledger {kind}"] = await stack.enter_async_context(gateway(directory, url))
        figures = {name: Figures() for name in servers}
        for server in servers.values():
            await load(server.port, REQUEST, seconds)
        for number in range(rounds):
            for name, server in servers.items():
                before = server.cpu()
                rate = await load(server.port, REQUEST, seconds)
                figures[name].rates.append(rate)
                figures[name].costs.append((server.cpu() - before) / (rate * (seconds + WARM_UP)))
            print(f"round {number + 1}:", "   ".join(f"{n} {each.rates[-1]:6.0f}/s" for n, each in figures.items()))
        return figures


def summary(figures: dict[str, Figures]) -> Iterator[str]:
    """Yield a line for each server: medians over the rounds, of its figures and of how they compare."""
    bare = figures.get("ledger none")
    for name, mine in figures.items():
        line = f"{name:<16} {statistics.median(mine.rates):6.0f}/s {statistics.median(mine.costs) * 1e6:6.0f} us each"
        if name != REFERENCE:
            line += f"   {ratio(mine.rates, figures[REFERENCE].rates):.0%} of the {REFERENCE}'s rate"
        if bare is not None and name.startswith("ledger") and mine is not bare:
            line += f", {ratio(mine.rates, bare.rates):.0%} of that without a ledger"
        yield line


def ratio(mine: Sequence[float], others: Sequence[float]) -> float:
    """Return how one rate compares to another, round by round."""
    return statistics.median(one / other for one, other in zip(mine, others, strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", nargs="+", choices=LEDGERS, default=LEDGERS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each round and server")
    options = parser.parse_args()
    ledgers = without_missing(options.ledger)
    for line in summary(uvloop.run(compare(ledgers, options.rounds, options.seconds))):
        print(line)


if __name__ == "__main__":
    main()
