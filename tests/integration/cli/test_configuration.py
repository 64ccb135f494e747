"""``config`` and ``--help`` as users see them."""

import json
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from importlib.metadata import version
from pathlib import Path

import pytest

from mcp_queue.config import env_example
from tests.support.processes.cli import environment, run_cli
from tests.support.tools import ROOT


async def test_the_configuration_is_shown_without_secrets(tmp_path: Path) -> None:
    """Settings, queues, routes and warnings, with where each value comes from."""
    path = tmp_path / "queue.yaml"
    path.write_text("queue: {workers: {count: 7}, routes: [{type: mail, callback_url: 'https://example.com/mail'}]}")

    done = await run_cli(
        "config", "check",
        QUEUE_CONFIG=str(path),
        QUEUE_BATCH_SIZE="5",
        QUEUE_BATCHSIZE="5",
        LEDGER_URL="postgresql://queue:hunter2@db/queue",
    )  # fmt: skip

    assert 0 == done.exit_code
    lines = [line.split() for line in done.out.splitlines()]
    assert ["QUEUE_WORKER_COUNT", "7", "file"] in lines
    assert ["QUEUE_BATCH_SIZE", "5", "QUEUE_BATCH_SIZE"] in lines
    assert ["LEDGER_URL", "postgresql://queue:****@db/queue", "LEDGER_URL"] in lines
    assert ["priority-tasks", "fifo", "sqlite", "dlq", "5m", "100", "3", "-"] in lines
    assert ["mail", "https://example.com/mail", "no"] in lines
    assert "Warning: QUEUE_BATCHSIZE is no setting; did you mean QUEUE_BATCH_SIZE?" in done.out
    assert "hunter2" not in done.out


async def test_the_configuration_is_shown_to_programs() -> None:
    """JSON holds the same, durations in seconds."""
    done = await run_cli("config", "check", "--json")

    report = json.loads(done.out)
    assert {"value": "10", "origin": "default"} == report["settings"]["QUEUE_WORKER_COUNT"]
    assert ("tasks", 300) == (report["queues"][0]["name"], report["queues"][0]["visibility_timeout"])


@pytest.mark.parametrize("command", [["config", "check"], ["gateway"], ["consumer"], ["dev"]])
async def test_a_mistake_stops_every_command_that_needs_the_settings(command: list[str]) -> None:
    """One line for each mistake, no traceback, exit code 2."""
    done = await run_cli(*command, QUEUE_WORKER_COUNT="many", LOG_LEVEL="loud")

    assert (2, "") == (done.exit_code, done.out)
    assert ["QUEUE_WORKER_COUNT", "LOG_LEVEL"] == [line.partition(":")[0] for line in done.err.splitlines()]


async def test_handlers_that_cannot_be_imported_are_a_mistake() -> None:
    """Neither process would start with them."""
    done = await run_cli("config", "check", QUEUE_HANDLERS="no_such_module")

    assert (2, "") == (done.exit_code, done.out)
    assert "QUEUE_HANDLERS: cannot import no_such_module: No module named 'no_such_module'" == done.err.strip()


async def test_the_version_can_be_printed() -> None:
    """Whoever asks for help is asked for it."""
    assert (0, f"{version('mcp-queue')}\n") == ((done := await run_cli("--version")).exit_code, done.out)


async def test_what_cannot_be_printed_is_one_line() -> None:
    """A full disk is no reason for a traceback."""
    command = await create_subprocess_exec(
        "/bin/sh", "-c", f"'{sys.executable}' -m mcp_queue config example > /dev/full", env=environment(), stderr=PIPE
    )
    _, errors = await command.communicate()

    assert (1, b"[Errno 28] No space left on device\n") == (command.returncode, errors)


async def test_the_example_file_can_be_printed() -> None:
    """The installed command needs no checkout to show what can be set."""
    assert env_example() == (await run_cli("config", "example")).out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["dev", "gateway", "consumer", "tasks", "queues", "config", "openapi"]),
        (["tasks"], ["enqueue"]),
        (["queues"], ["list", "stats", "pause", "resume", "purge"]),
        (["config"], ["check", "example"]),
        (["tasks", "enqueue"], ["--file", "--payload", "--json"]),
        (["dev"], ["Ctrl-C stops both"]),
    ],
)
async def test_help_names_what_there_is(arguments: list[str], expected: list[str]) -> None:
    """Every command explains itself."""
    done = await run_cli(*arguments, "--help")

    assert 0 == done.exit_code
    assert [] == [word for word in expected if word not in done.out]
    assert "until-stdin-closes" not in done.out


async def test_a_misspelt_command_is_corrected() -> None:
    """The nearest one is suggested."""
    done = await run_cli("queuez", "list")

    assert 2 == done.exit_code
    assert "queues" in done.err


async def test_help_needs_no_heavy_imports() -> None:
    """What a command needs is imported when it runs, so that help and completion answer at once."""
    script = (
        "import sys; from mcp_queue.cli.application import build; build();"
        "print([name for name in ('pydantic', 'aiohttp', 'fastapi', 'sqlalchemy', 'yaml') if name in sys.modules])"
    )
    process = await create_subprocess_exec(sys.executable, "-c", script, env=environment(), cwd=ROOT, stdout=PIPE)

    out, _ = await process.communicate()

    assert b"[]" == out.strip()


@pytest.mark.parametrize(
    ("host", "file", "reason"),
    [
        ("0.0.0.0", "", "no API keys are configured"),
        ("127.0.0.1", "/nowhere/keys.yaml", "/nowhere/keys.yaml cannot be read"),
    ],
)
async def test_what_only_the_gateway_minds_is_a_warning(host: str, file: str, reason: str) -> None:
    """A consumer of the same configuration starts all the same."""
    done = await run_cli("config", "check", GATEWAY_HOST=host, GATEWAY_API_KEYS_FILE=file)

    assert 0 == done.exit_code
    assert "the gateway will not start" in done.out
    assert reason in done.out
