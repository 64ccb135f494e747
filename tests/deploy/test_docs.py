"""The documentation: what it names exists, and its programs do what it says."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import typer

from bench.processes import free_port
from mcp_queue.adapters.callbacks.signing import CallbackSigner
from mcp_queue.cli.application import build
from mcp_queue.domain.errors import PermanentError, RetryableError
from mcp_queue.domain.task import Task
from mcp_queue.services.execution.router import TaskRouter
from tests.support.config import known_variables
from tests.support.tools import ROOT, unavailable
from tests.support.waiting import eventually

DOCS = sorted((ROOT / "docs").glob("*.md"))
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
#: Variables of others: libraries, tools, the examples' own.
FOREIGN = {
    "AWS_ACCESS_KEY_ID", "AWS_ARGS", "AWS_SECRET_ACCESS_KEY", "DOCUMENTS_SECRET", "DOCUMENTS_TOKEN", "TEST_AWS",
    "THE_ID", "WEBHOOK_SECRET",
    "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME", "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
}  # fmt: skip


def code(page: str, language: str) -> str:
    """Return the first block of code in ``language`` on a page."""
    found = re.search(rf"^```{language}\n(.*?)^```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    assert found is not None, (page, language)
    return found[1]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made on code hosts."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    """Within the documentation: to pages that are there and to headings that they have."""
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        page, _, anchor = link.partition("#")
        target = path.parent / page if page else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_variable_is_a_setting(path: Path) -> None:
    """What the pages tell people to set is read by somebody."""
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", path.read_text()))
    assert set() == named - known_variables() - FOREIGN


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_command_exists(path: Path) -> None:
    """With its subcommand; its options are for its own tests."""
    command = typer.main.get_command(build())
    for line in re.findall(r"(?<![\w/-])mcp-queue((?: [a-z]+)+)", path.read_text()):
        names = line.split()
        group = command
        while names and isinstance(group, typer.core.TyperGroup):
            assert names[0] in group.commands, f"mcp-queue{line}"
            group = group.commands[names.pop(0)]


def test_every_path_in_code_exists() -> None:
    """Files and directories of the project that the pages name."""
    for path in DOCS:
        for named in re.findall(r"`((?:deploy|bench)/[\w./-]*)`", path.read_text()):
            assert (ROOT / named).exists(), (path.name, named)


async def test_the_example_handler_does_what_the_page_says() -> None:
    """It returns a result, asks for another attempt, and gives up."""
    module = types.ModuleType("myproject.handlers")
    sys.modules[module.__name__] = module  # where pydantic and the router look up annotations
    try:
        exec(code("handlers.md", "python"), vars(module))
        router: TaskRouter = module.router
        assert {"image": "a.png@200", "attempt": 1} == await router.run(thumbnail({"image": "a.png"}), {})
        with pytest.raises(PermanentError, match="no thumbnail is that wide"):
            await router.run(thumbnail({"image": "a.png", "width": 5000}), {})
        with pytest.raises(RetryableError):
            await router.run(thumbnail({"image": "busy:a.png"}), {})
    finally:
        del sys.modules[module.__name__]


def thumbnail(payload: dict[str, object]) -> Task:
    """Return a task for the example."""
    return Task(
        id="t-1", type="thumbnail", queue="tasks", created_at=datetime.now(UTC), payload=json.loads(json.dumps(payload))
    )


@asynccontextmanager
async def receiver(language: str, directory: Path) -> AsyncIterator[str]:
    """Run the page's receiver; yield its address."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "WEBHOOK_SECRET": SECRET, "PORT": str(port)}
    process = started(command_for(language, directory), environment, directory)
    try:
        await eventually(lambda: listens(port, process), 30, f"the receiver in {language} listens")
        yield f"http://127.0.0.1:{port}/hook"
    finally:
        process.kill()
        process.communicate()


def started(command: Sequence[str | Path], environment: dict[str, str], directory: Path) -> subprocess.Popen[bytes]:
    """Start a program in ``directory``."""
    return subprocess.Popen(command, env=environment, cwd=directory, stderr=subprocess.PIPE)


def command_for(language: str, directory: Path) -> Sequence[str | Path]:
    """Write the page's program down, and return the command that runs it."""
    match language:
        case "python":
            name, command = "hook.py", [sys.executable]
        case "js":
            name, command = "hook.mjs", [tool("node")]
        case _:
            name, command = "hook.go", [tool("go"), "build", "-o", "hook"]
    (directory / name).write_text(code("callbacks.md", language))
    if language == "go":
        environment = {**os.environ, "GOCACHE": str(directory / "cache"), "GO111MODULE": "off"}
        subprocess.run([*command, name], cwd=directory, env=environment, check=True)
        return [directory / "hook"]
    return [*command, name]


def tool(name: str) -> str:
    """Return the path of a language's own tool."""
    found = shutil.which(name)
    if found is None and name == "go":
        pytest.skip("go is not installed, and its compiler is too large to be fetched for one page")
    return found or unavailable(f"{name} is not installed")


async def listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has opened its port."""
    assert process.poll() is None, process.communicate()[1]
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


@pytest.mark.parametrize("language", ["python", "js", "go"])
async def test_the_receivers_take_what_is_signed_and_nothing_else(language: str, tmp_path: Path) -> None:
    """A genuine callback is done; a changed body, another secret, an old time and no signature are refused."""
    body = json.dumps({"id": "t-1", "payload": {"text": "ä"}}).encode()
    now = datetime.now(UTC)
    other = "whsec_" + SECRET[6:].swapcase()
    genuine = CallbackSigner([SECRET]).headers("t-1", now, body)
    async with receiver(language, tmp_path) as url, aiohttp.ClientSession() as session:

        async def post(headers: dict[str, str], content: bytes = body) -> tuple[int, str]:
            async with session.post(url, data=content, headers=headers) as answer:
                return answer.status, await answer.text()

        status, text = await post(genuine)
        assert (200, {"done": "t-1"}) == (status, json.loads(text))
        assert 200 == (await post(CallbackSigner([other, SECRET]).headers("t-1", now, body)))[0]
        for refused in (
            post(genuine, body + b" "),
            post(CallbackSigner([other]).headers("t-1", now, body)),
            post(CallbackSigner([SECRET]).headers("t-1", now - timedelta(minutes=6), body)),
            post({}),
        ):
            assert 401 == (await refused)[0]
