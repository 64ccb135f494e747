"""``make test-aws`` against what runs here: it refuses, tries everything, and leaves no queue behind."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiobotocore.session import AioSession

from tests.support.aws.emulators import aws_environment, use_endpoint
from tests.support.aws.strict_http import strict_server
from tests.support.sqs.localstack import LocalStack
from tests.support.tools import ROOT

#: What LocalStack accepts and SQS does not; the strict server refuses all of it.
LENIENT = ["limits_of_messages", "twelve_hours", "keys"]
#: LocalStack sends the older code to everybody.
HEADERS = ["recorded_errors"]
#: It spells the code of an entry as the shape, which is not read as a lost lease yet.
UNREAD = ["a_lost_lease"]
PATIENCE = 120


async def start(environment: Mapping[str, str], *arguments: str) -> asyncio.subprocess.Process:
    """Start the run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TEST_AWS"))}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.aws", *arguments,
        cwd=ROOT,
        env={**kept, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def finish(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """Wait for the end; return the exit code and everything that was said."""
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode, (out + err).decode()


async def queues_left(url: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the queues of a run that an emulator still has."""
    use_endpoint(monkeypatch, url)
    async with AioSession().create_client("sqs") as sqs:
        return (await sqs.list_queues(QueueNamePrefix="mcp-queue-test-")).get("QueueUrls", [])


async def test_it_refuses_without_the_opt_in() -> None:
    """It says what it would create and what that costs, and does nothing."""
    code, said = await finish(await start(aws_environment("http://127.0.0.1:9")))
    assert 2 == code
    assert "TEST_AWS=yes" in said
    assert "USD" in said


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("AWS_REGION AWS_DEFAULT_REGION", "Set AWS_REGION"),
        ("AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY", "no AWS credentials"),
    ],
)
async def test_it_says_what_is_missing(missing: str, says: str) -> None:
    """Region and credentials are those of AWS's own chain."""
    environment = {**aws_environment("http://127.0.0.1:9"), "TEST_AWS": "yes"}
    code, said = await finish(
        await start({name: value for name, value in environment.items() if name not in missing.split()})
    )
    assert 2 == code
    assert says in said


async def test_everything_is_as_expected_on_the_strict_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which refuses what SQS refuses. The answers are written down, without numbers of accounts."""
    answers = tmp_path / "answers.json"
    async with strict_server() as url:
        environment = {**aws_environment(url), "TEST_AWS": "yes"}
        code, said = await finish(await start(environment, "--answers", str(answers)))
        assert [] == await queues_left(url, monkeypatch)
    assert 0 == code, said
    written = json.loads(answers.read_text())
    assert {400, 403, 200} == {answer["status"] for answer in written}
    assert "AWS.SimpleQueueService.PurgeQueueInProgress;Sender" in answers.read_text()


async def test_localstack_answers_the_rest_as_expected(
    tmp_path: Path, localstack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but what it accepts wrongly."""
    environment = {**aws_environment(localstack.url), "TEST_AWS": "yes"}
    without = [*LENIENT, *HEADERS, *UNREAD]
    code, said = await finish(
        await start(environment, "--answers", str(tmp_path / "answers.json"), "--without", *without)
    )
    assert 0 == code, said
    assert [] == await queues_left(localstack.url, monkeypatch)


async def test_an_interrupted_run_deletes_its_queues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a check."""
    async with strict_server() as url:
        environment = {**aws_environment(url), "TEST_AWS": "yes"}
        process = await start(environment, "--answers", str(tmp_path / "answers.json"))
        assert process.stdout is not None
        while b"one_mebibyte" not in await asyncio.wait_for(process.stdout.readline(), PATIENCE):
            pass
        assert await queues_left(url, monkeypatch)
        process.send_signal(signal.SIGINT)
        code, said = await finish(process)
        assert [] == await queues_left(url, monkeypatch)
    assert 1 == code
    assert "interrupted" in said
