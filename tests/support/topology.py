"""The compose stack as plain processes: its queues, its settings and its scrape targets, on ports of the tests' own."""

import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.localstack import LocalStack
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.stack import ROOT, Stack, running_stack
from tests.support.tools import output_of


@dataclass(frozen=True)
class Topology:
    """Everything that runs, but what only shows: Grafana and the trace backend."""

    stack: Stack
    prometheus: Prometheus


@contextlib.asynccontextmanager
async def running_topology(directory: Path, localstack: LocalStack, ledger_url: str) -> AsyncIterator[Topology]:
    """Create the queues, migrate the ledger, and start gateway, consumer and Prometheus, in the order of the stack."""
    aws = localstack.environment()
    deploy = ROOT / "deploy" / "localstack"
    output_of(sys.executable, deploy / "create-bucket.py", env=aws)
    configured = {**aws, "QUEUE_CONFIG": str(deploy / "mcp-queue.yaml")}
    output_of(sys.executable, "-m", "mcp_queue", "queues", "apply", cwd=ROOT, env=configured)
    output_of(sys.executable, "-m", "mcp_queue", "ledger", "migrate", cwd=ROOT, env={"LEDGER_URL": ledger_url})
    settings = (deploy / "mcp-queue.yaml").read_text()
    # A drain awaits open polls, which would keep the tests waiting.
    variables = {**aws, "LEDGER_URL": ledger_url, "SQS_WAIT_TIME_SECONDS": "1s"}
    async with running_stack(directory, settings, **variables) as stack:
        targets = {f"mcp-queue-{one.name}": one.url.removeprefix("http://") for one in stack.services}
        async with running_prometheus(directory, targets) as prometheus:
            yield Topology(stack, prometheus)
