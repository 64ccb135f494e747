"""Prometheus as Debian packages it, and the dashboards and rules that the project ships for it."""

import asyncio
import contextlib
import json
import math
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bench.processes import free_port
from tests.support.tools import ROOT, debian_package
from tests.support.waiting import pause

CONFIGURATION = ROOT / "deploy" / "prometheus"
START_LIMIT = 30.0
STOP_LIMIT = 10.0
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
#: What Grafana puts in the place of variables, as narrow as a test's time and as wide as its queues.
_VARIABLES = {"$__rate_interval": "1m", "$queue": ".*"}


def dashboards() -> dict[str, dict[str, Any]]:
    """Return every dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def queries() -> Iterator[tuple[str, str]]:
    """Yield every query, with the place where it stands."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                query = target["expr"]
                for variable, value in _VARIABLES.items():
                    query = query.replace(variable, value)
                yield f"{name}: {panel['title']} ({target['refId']})", query


def promtool() -> Path:
    """Return promtool."""
    return debian_package("prometheus") / "usr" / "bin" / "promtool"


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str
    session: aiohttp.ClientSession

    async def samples(self, query: str) -> list[float]:
        """Return the values that ``query`` has at the moment, without those that are not a number.

        Raises:
            ValueError: Prometheus does not take the query.

        """
        async with self.session.get(f"{self.url}/api/v1/query", params={"query": query}) as response:
            answer: dict[str, Any] = await response.json()
        if answer["status"] != "success":
            message = f"{query}: {answer['error']}"
            raise ValueError(message)
        values = [float(result["value"][1]) for result in answer["data"]["result"]]
        return [value for value in values if not math.isnan(value)]


@contextlib.asynccontextmanager
async def running_prometheus(directory: Path, targets: Mapping[str, str]) -> AsyncIterator[Prometheus]:
    """Run Prometheus by the project's own configuration, only faster, and against ``targets``: addresses by job."""
    path = _configuration(directory, targets)
    port = free_port()
    command = [
        str(debian_package("prometheus") / "usr" / "bin" / "prometheus"),
        f"--config.file={path}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    process = _started(command, directory / "prometheus.log")
    try:
        async with aiohttp.ClientSession() as session:
            server = Prometheus(f"http://127.0.0.1:{port}", session)
            await _await_ready(server, process, directory / "prometheus.log")
            yield server
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, STOP_LIMIT)


def _started(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def _configuration(directory: Path, targets: Mapping[str, str]) -> Path:
    configuration = yaml.safe_load((CONFIGURATION / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(CONFIGURATION / pattern) for pattern in configuration["rule_files"]]
    for job in configuration["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    return path


async def _await_ready(server: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    async with asyncio.timeout(START_LIMIT):
        while True:
            assert process.poll() is None, f"Prometheus ended; see {log}"
            with contextlib.suppress(aiohttp.ClientError):
                async with server.session.get(f"{server.url}/-/ready") as response:
                    if response.status == 200:
                        return
            await pause()
