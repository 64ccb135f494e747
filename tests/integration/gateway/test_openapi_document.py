"""The gateway does what its OpenAPI document says, whatever it is sent."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.processes import Service
from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.ledger.ledger import open_ledger
from mcp_queue.domain.operators.keys import digest_of
from mcp_queue.services.schedules.schedules import NewSchedule
from tests.support.gateway import GatewayKit, operations
from tests.support.http.application import call
from tests.support.metrics import LedgerCounts
from tests.support.processes.stack import make_stack
from tests.support.tasks import a_dead_letter, a_task
from tests.support.tools import ROOT

KEY = "mcpq_for-everything"
CONFIG = Path(__file__).parent / "openapi" / "schemathesis.toml"
FEWEST_CASES = 2000


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Service]:
    """Run a gateway with keys, the embedded queue, and a ledger in which there is something to find."""
    keys, database = tmp_path / "keys.yaml", tmp_path / "ledger.db"
    keys.write_text(f"- {{name: root, hash: 'sha256:{digest_of(KEY.encode()).hex()}', scopes: [admin]}}\n")
    url = f"sqlite+aiosqlite:///{database}"
    async with open_ledger(url, clock=SystemClock(), metrics=LedgerCounts()) as ledger:
        dead_letters = [a_task(f"dead-{number}", queue="tasks") for number in (1, 2, 3)]
        await ledger.tasks.record_enqueued([a_task(f"task-{number}", queue="tasks") for number in (1, 2, 3)])
        await ledger.dead_letters.store_dead_letters([a_dead_letter(task) for task in dead_letters])
    service = make_stack(tmp_path, GATEWAY_API_KEYS_FILE=str(keys), LEDGER_URL=url).gateway
    await service.start()
    yield service
    await service.stop()


@pytest.mark.timeout(300)
async def test_gateway_keeps_to_its_document(gateway: Service, tmp_path: Path) -> None:
    """Thousands of requests, with data that fits and data that does not: no 5xx, and nothing that is not documented."""
    arguments = ["--config-file", str(CONFIG), "run", f"{gateway.url}/openapi.json"]
    arguments += ["--header", f"Authorization: Bearer {KEY}", "--checks", "all", "--no-color"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", *arguments,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    shown = (await process.communicate())[0].decode()
    assert 0 == process.returncode, shown
    generated = re.search(r"([\d,]+) generated", shown)
    assert generated is not None, shown
    assert int(generated[1].replace(",", "")) >= FEWEST_CASES, shown
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    assert [] == [line for line in lines if line["level"] == "error"]


def _tries(path: str, operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Return path, headers and body of everything that Swagger UI offers to send."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            if "examples" not in parameter:
                return  # the id of something that is made first
            example = next(iter(parameter["examples"].values()))["value"]
            path = path.replace(f"{{{parameter['name']}}}", example)
    content = operation.get("requestBody", {}).get("content", {})
    shown = [(media_type, value) for media_type, body in content.items() for value in _values(body)]
    for media_type, value in shown:
        body = value if isinstance(value, str) else json.dumps(value)
        yield path, {"Content-Type": media_type}, body.encode()
    if not shown:
        yield path, {}, b""


def _values(body: dict[str, Any]) -> list[Any]:
    return [body["example"]] if "example" in body else [shown["value"] for shown in body["examples"].values()]


async def test_examples_work_unedited(remembering: GatewayKit) -> None:
    """What Swagger UI fills in can be sent as it is."""
    nightly = NewSchedule(cron="0 3 * * *", queue="tasks", task={"type": "echo"})
    failed, tried = [], 0
    for method, template, operation in operations(remembering.app.openapi()):
        for path, headers, body in _tries(template, operation):
            await remembering.scheduling.put("nightly", nightly)
            answer = await call(remembering.app, method, path, headers=headers, content=body)
            failed += [(method, path, answer.status)] if answer.status >= 300 else []
            tried += 1
    assert ([], True) == (failed, tried > 20)
