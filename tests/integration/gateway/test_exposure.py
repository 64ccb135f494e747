"""A started gateway: its addresses, who reaches it, and how its keys change."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from bench.processes import Service, free_port
from mcp_queue.domain.operators.keys import digest_of
from tests.support.gateway import bearer
from tests.support.processes.cli import run_cli
from tests.support.processes.stack import make_stack
from tests.support.waiting import eventually

PATIENCE = 10.0


def key_line(secret: str, *scopes: str) -> str:
    """Return the line of a key."""
    return f"- {{name: ci, hash: 'sha256:{digest_of(secret.encode()).hex()}', scopes: [{', '.join(scopes)}]}}\n"


@contextlib.asynccontextmanager
async def running(directory: Path, ready_on: int | None = None, **variables: str) -> AsyncIterator[Service]:
    """Run a gateway of its own; ``ready_on`` is the port of its readiness where that is another."""
    gateway = make_stack(directory, **variables).gateway
    serves_on = gateway.port
    gateway.port = ready_on or serves_on
    try:
        await gateway.start()
        gateway.port = serves_on
        yield gateway
    finally:
        await gateway.stop()


async def status(url: str, key: str | None = None) -> int:
    """Return the status of a GET; 0 if nothing listens."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(url, headers={} if key is None else bearer(key)) as response:
                return response.status
        except aiohttp.ClientConnectorError:
            return 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_address_that_others_reach_needs_keys(tmp_path: Path, host: str) -> None:
    """The gateway does not start, and says what to do."""
    done = await run_cli("gateway", GATEWAY_HOST=host, GATEWAY_PORT=str(free_port()), QUEUE_DATA_DIR=str(tmp_path))

    assert 2 == done.exit_code
    assert "GATEWAY_API_KEYS_FILE" in done.err
    assert "Traceback" not in done.err


async def test_auth_none_opens_any_address(tmp_path: Path) -> None:
    """Who says so has something else in front; the log warns all the same."""
    async with running(tmp_path, GATEWAY_HOST="0.0.0.0", GATEWAY_AUTH="none") as gateway:
        assert 200 == await status(f"{gateway.url}/v1/queues")
        assert "no API key is asked for" in gateway.log.read_text()


async def test_sighup_changes_the_keys(tmp_path: Path) -> None:
    """New keys count and old ones stop to, without a restart; a broken file changes nothing, and the log names it."""
    file = tmp_path / "keys.yaml"
    file.write_text(key_line("old", "read"))
    async with running(tmp_path, GATEWAY_API_KEYS_FILE=str(file), GATEWAY_HOST="127.0.0.1") as gateway:
        queues = f"{gateway.url}/v1/queues"
        assert gateway.process is not None
        process = gateway.process

        async def statuses() -> list[int]:
            return [await status(queues, key) for key in ("old", "new", None)]

        async def hung_up(text: str, expected: list[int]) -> None:
            file.write_text(text)
            process.send_signal(signal.SIGHUP)

            async def there() -> bool:
                return expected == await statuses()

            await eventually(there, PATIENCE, f"{expected} after SIGHUP")

        assert [200, 401, 401] == await statuses()
        await hung_up(key_line("old", "read") + key_line("new", "read"), [200, 200, 401])

        file.write_text("- {name: broken")
        process.send_signal(signal.SIGHUP)

        async def complained() -> bool:
            return "the API keys stay as they are: GATEWAY_API_KEYS_FILE" in gateway.log.read_text()

        await eventually(complained, PATIENCE, "a line about the broken file")
        assert [200, 200, 401] == await statuses()

        await hung_up(key_line("new", "read"), [401, 200, 401])


async def test_health_and_metrics_move_to_a_port_of_their_own(tmp_path: Path) -> None:
    """There they are open; where the others come in they are gone. Both ports close with the process."""
    file, port = tmp_path / "keys.yaml", free_port()
    file.write_text(key_line("reader", "read"))
    variables = {"GATEWAY_API_KEYS_FILE": str(file), "GATEWAY_METRICS_PORT": str(port)}
    async with running(tmp_path, ready_on=port, **variables) as gateway:
        own = f"http://127.0.0.1:{port}"
        assert [200, 200, 200] == [await status(f"{own}{path}") for path in ("/healthz", "/readyz", "/metrics")]
        assert [404, 404] == [await status(f"{gateway.url}{path}", "reader") for path in ("/healthz", "/metrics")]
        assert [401, 404] == [await status(f"{own}/v1/queues", key) for key in (None, "reader")]
        assert 200 == await status(f"{gateway.url}/v1/queues", "reader")
        exit_code = await asyncio.wait_for(gateway.stop(), 20)
    assert (0, 0, 0) == (exit_code, await status(f"{own}/healthz"), await status(f"{gateway.url}/v1/queues"))


async def test_secrets_are_in_no_log_line(tmp_path: Path) -> None:
    """Neither a key that counts nor one that does not, nor a payload, nor a line that a client forges."""
    file = tmp_path / "keys.yaml"
    file.write_text(key_line("c2VjcmV0", "enqueue", "operate"))
    async with running(tmp_path, GATEWAY_API_KEYS_FILE=str(file), LOG_LEVEL="debug") as gateway:
        async with aiohttp.ClientSession(gateway.url, headers=bearer("c2VjcmV0")) as session:
            task = {"type": "echo", "payload": {"card": "4111-1111"}}
            forged = "tasks%0A%7B%22level%22%3A%22error%22%2C%22message%22%3A%22forged%22%7D%1b%5B31m"
            for path, body, status_code in (
                ("/v1/queues/tasks/tasks", task, 202),
                (f"/v1/queues/{forged}/pause", None, 404),
                ("/v1/queues/tasks/pause", None, 200),
            ):
                async with session.post(path, json=body) as answer:
                    assert status_code == answer.status
        assert 401 == await status(f"{gateway.url}/v1/queues", "d3Jvbmc")
    log = gateway.log.read_text()
    assert not [secret for secret in ("c2VjcmV0", "d3Jvbmc", "4111-1111", "\x1b") if secret in log]
    messages = [json.loads(line)["message"] for line in log.splitlines()]
    assert "forged" not in messages
    assert "an operator acted" in messages
