"""What the product does on a fast SQS, in one run: both processes as a user starts them, beside an in-memory stub.

    python -m bench.sqs_load                # without a ledger, then once more with the SQLite ledger
    python -m bench.sqs_load --rounds 3     # quicker, and less certain

Measured are: single POSTs by 64 clients, beside an empty FastAPI route with the same body model (both are loaded in
turns, so that whatever else the machine does hits both alike); no-op tasks through one consumer process; what a task
costs in SQS requests under that load, as the stub counts them; and single POSTs to an idle gateway.
"""

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop

from bench.http_load import CONNECTIONS, PATH, load, post
from bench.processes import ROOT, gateway_and_consumer
from mcp_queue.adapters.clock import SystemClock
from mcp_queue.domain.task import JsonValue

TASK: JsonValue = {
    "type": "echo",
    "payload": {"text": "The quick brown fox jumps over the lazy dog"},
    "metadata": {"from": "me"},
}
IDLE_POSTS = 200
SECONDS = 2.0  # of each round
#: The consumer is measured from when so many of its tasks are done until so many are left, which fill no batches.
WARM_UP = 2_000
REMAINDER = 1_000
SLOTS = 50
LEDGERS: dict[str, dict[str, str]] = {"none": {"LEDGER_URL": "none"}, "sqlite": {}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Rates are per second, requests per task; ``latencies`` are in milliseconds."""

    reference: float
    posts: float
    ratio: float
    consumed: float
    produce_requests: float
    consume_requests: float
    idle_calls: int
    latencies: list[float]

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Yield what was measured, how much it is, and what it should be."""
        yield f"single POSTs, {CONNECTIONS} clients", f"{self.posts:,.0f}/s", ""
        yield "  of an empty FastAPI route's", f"{self.reference:,.0f}/s: {self.ratio:.0%}", "at least 50%"
        yield f"no-op tasks, one consumer, {SLOTS} slots", f"{self.consumed:,.0f}/s", "at least 2,500/s"
        requests = self.produce_requests + self.consume_requests
        parts = f"{self.produce_requests:.3f} + {self.consume_requests:.3f} = {requests:.3f}"
        yield "SQS requests per task", parts, "at most 0.4"
        yield f"SQS calls of {IDLE_POSTS} idle POSTs", str(self.idle_calls), str(IDLE_POSTS)
        p99 = statistics.quantiles(self.latencies, n=100)[98]
        yield "  their latency", f"median {statistics.median(self.latencies):.1f} ms, p99 {p99:.1f} ms", ""


@contextlib.contextmanager
def serving(*command: str) -> Iterator[str]:
    """Run a program of this directory that serves; return what it prints: where."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


class Stub:
    """The stub, as its client sees it."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        """Ask at ``url``."""
        self.url = url
        self._session = session

    async def calls(self) -> Counter[str]:
        """Return how many calls that move messages it answered."""
        async with self._session.get(f"{self.url}/counts") as response:
            counts: dict[str, int] = await response.json(content_type=None)
        return Counter({name: count for name, count in counts.items() if "Message" in name})

    async def waiting(self) -> int:
        """Return how many messages can be received."""
        body = '{"QueueUrl": "http://stub/000000000000/tasks", "AttributeNames": ["All"]}'
        headers = {"X-Amz-Target": "AmazonSQS.GetQueueAttributes"}
        async with self._session.post(self.url, data=body, headers=headers) as response:
            answer = await response.json(content_type=None)
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    async def until(self, waiting: int) -> None:
        """Return when no more than so many wait."""
        clock = SystemClock()
        while await self.waiting() > waiting:
            await clock.sleep(0.05)


async def measure(stub: Stub, reference: int, directory: Path, rounds: int, variables: dict[str, str]) -> Figures:
    """Measure one set-up of both processes."""
    gateway, consumer = gateway_and_consumer(
        directory,
        SQS_QUEUE_URL="tasks",
        SQS_DLQ_URL="dlq",
        AWS_ENDPOINT_URL_SQS=stub.url,
        AWS_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="stub",
        AWS_SECRET_ACCESS_KEY="stub",
        QUEUE_WORKER_COUNT=str(SLOTS),
        **variables,
    )
    try:
        await gateway.start()
        idle_calls, latencies = await post_when_idle(stub, gateway.url)
        sent, calls = await stub.waiting(), await stub.calls()
        rates = await post_in_turns({"reference": reference, "gateway": gateway.port}, rounds)
        sent, calls = await stub.waiting() - sent, await stub.calls() - calls
        await gateway.stop()
        consumed, consume_requests = await consume(stub, consumer.start())
    finally:
        await asyncio.gather(gateway.stop(), consumer.stop())
    return Figures(
        reference=statistics.median(rates["reference"]),
        posts=statistics.median(rates["gateway"]),
        ratio=statistics.median(mine / other for other, mine in zip(*rates.values(), strict=True)),
        consumed=consumed,
        produce_requests=calls.total() / sent,
        consume_requests=consume_requests,
        idle_calls=idle_calls,
        latencies=latencies,
    )


async def post_when_idle(stub: Stub, url: str) -> tuple[int, list[float]]:
    """Post one task after the other; return how many SQS calls that took, and how long each answer."""
    latencies = []
    async with aiohttp.ClientSession() as session:
        await (await session.post(url + PATH, json=TASK)).read()  # connections are opened, and looked up
        before = await stub.calls()
        for _ in range(IDLE_POSTS):
            began = time.perf_counter()
            async with session.post(url + PATH, json=TASK) as answer:
                assert answer.status == 202
                await answer.read()
            latencies.append((time.perf_counter() - began) * 1e3)
        after = await stub.calls()
    return (after - before).total(), latencies


async def post_in_turns(ports: dict[str, int], rounds: int) -> dict[str, list[float]]:
    """Load the servers in turns; a first round, in which they warm up, does not count."""
    rates: dict[str, list[float]] = {name: [] for name in ports}
    for number in range(rounds + 1):
        for name, port in ports.items():
            rate = await load(port, post(TASK), SECONDS)
            if number:
                rates[name].append(rate)
    return rates


async def consume(stub: Stub, starting: Awaitable[None]) -> tuple[float, float]:
    """Start a consumer on what waits; return how many tasks it does a second, and SQS requests per task."""
    backlog = await stub.waiting()
    await starting
    await stub.until(backlog - WARM_UP)
    began, first, calls = time.perf_counter(), await stub.waiting(), await stub.calls()
    await stub.until(REMAINDER)
    done = first - await stub.waiting()
    return done / (time.perf_counter() - began), (await stub.calls() - calls).total() / done


async def run(ledgers: Sequence[str], rounds: int) -> None:
    """Measure with each ledger, and print a table for each."""
    with tempfile.TemporaryDirectory() as directory:
        for name in ledgers:
            with (
                serving("bench/sqs_stub.py", "0", "tasks", "dlq") as url,
                serving("-m", "bench.http_load") as port,
            ):
                home = Path(directory) / name
                home.mkdir()
                async with aiohttp.ClientSession() as session:
                    figures = await measure(Stub(url, session), int(port), home, rounds, LEDGERS[name])
            print(f"ledger {name}")
            for line in figures.lines():
                print("{:<36} {:>32} {:>18}".format(*line))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of POSTs that count")
    parser.add_argument("--ledger", nargs="+", choices=LEDGERS, default=list(LEDGERS))
    options = parser.parse_args()
    uvloop.run(run(options.ledger, options.rounds))


if __name__ == "__main__":
    main()
