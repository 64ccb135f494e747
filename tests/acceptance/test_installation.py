"""The wheel, installed with its locked dependencies beside a project that has an ``app`` package of its own."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import venv
import zipfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from email import message_from_bytes
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.processes import free_port
from tests.support.tools import ROOT
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

HANDLERS = '''\
"""What a user writes."""

from mcp_queue import Clock, JsonValue, Task, TaskRouter

router = TaskRouter()


@router.task("greet")
async def greet(task: Task, clock: Clock) -> JsonValue:
    """Answer from the user's own package."""
    return {"by": __name__, "attempt": task.retry_count + 1, "at": clock.now().isoformat()}
'''


def run(*command: object, cwd: Path | None = None) -> str:
    """Return what ``command`` prints; it must succeed."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Installation:
    """A wheel, and a virtual environment that holds nothing but it and its locked dependencies."""

    wheel: Path
    bin: Path


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Build the wheel from a copy of what it is made of, and install it as the Dockerfile does."""
    directory = tmp_path_factory.mktemp("installation")
    source, environment = directory / "source", directory / "environment"
    shutil.copytree(ROOT / "app", source / "app", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, source)
    (wheel,) = directory.glob("*.whl")
    venv.create(environment, with_pip=False, symlinks=True)
    install = [*pip, "--python", environment / "bin" / "python", "install", "--no-deps", "--no-compile"]
    run(*install, "--require-hashes", "--requirement", ROOT / "requirements" / "app.lock")
    run(*install, "--no-index", wheel)
    return Installation(wheel, environment / "bin")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the directory of a project with a handler."""
    package = tmp_path / "project" / "app"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "handlers.py").write_text(HANDLERS)
    return package.parent


@dataclass(frozen=True)
class Place:
    """Where commands of an installation run, and with which settings."""

    installation: Installation
    directory: Path
    variables: dict[str, str]

    @property
    def url(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self.variables['GATEWAY_PORT']}"

    @asynccontextmanager
    async def running(self, *command: str) -> AsyncIterator[Process]:
        """Run a program of the installation until the context ends; it must end cleanly."""
        process = await asyncio.create_subprocess_exec(
            self.installation.bin / command[0], *command[1:], cwd=self.directory, env=self.variables, stderr=PIPE
        )
        output = asyncio.ensure_future(process.communicate())
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            _, errors = await output
            assert process.returncode == 0, errors.decode()
        finally:
            if process.returncode is None:
                process.kill()
            await output

    async def greet(self) -> Any:
        """Submit a task for the project's handler; return its result."""
        async with aiohttp.ClientSession(self.url) as session:

            async def ready() -> bool:
                with suppress(aiohttp.ClientError):
                    async with session.get("/readyz") as response:
                        return response.status == 200
                return False

            async def fetch() -> Any:
                async with session.get(f"/v1/tasks/{task['id']}") as response:
                    return await response.json()

            async def completed() -> bool:
                return bool((await fetch())["status"] == "completed")

            await eventually(ready, 60, "the gateway is ready")
            async with session.post("/v1/queues/tasks/tasks", json={"type": "greet"}) as response:
                task = await response.json()
            await eventually(completed, 60, "the task is completed")
            return (await fetch())["result"]["result"]


def place(installation: Installation, directory: Path, data: Path, **variables: str) -> Place:
    """Return a place with ports and data of its own."""
    settings = {
        "PATH": os.environ["PATH"],
        "QUEUE_HANDLERS": "app.handlers",
        "QUEUE_DATA_DIR": str(data),
        "GATEWAY_PORT": str(free_port()),
        "CONSUMER_PORT": str(free_port()),
    }
    return Place(installation, directory, {**settings, **variables})


def shadow(project: Path) -> None:
    """Give the project modules that are named like the product and like what it imports."""
    for name in ("mcp_queue", "typer", "pydantic", "uvloop"):
        (project / f"{name}.py").write_text(f"raise RuntimeError('the {name} of the working directory')")


@pytest.mark.parametrize("command", [("mcp-queue", "dev"), ("python", "-P", "-m", "mcp_queue", "dev")])
async def test_dev_runs_the_handler_of_the_directory_it_is_started_in(
    installation: Installation, project: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The project's ``app`` is found, and its modules stand in for none of the product's."""
    shadow(project)
    here = place(installation, project, tmp_path / "var")

    async with here.running(*command):
        result = await here.greet()

    assert ("app.handlers", 1) == (result["by"], result["attempt"])


@pytest.mark.parametrize("way", ["the directory", "PYTHONPATH"])
async def test_gateway_and_consumer_find_it_as_dev_does(
    installation: Installation, project: Path, tmp_path: Path, way: str
) -> None:
    """By the directory that they are started in, or from anywhere by ``PYTHONPATH``."""
    if way == "PYTHONPATH":
        here = place(installation, tmp_path, tmp_path / "var", PYTHONPATH=str(project))
    else:
        shadow(project)
        here = place(installation, project, tmp_path / "var")

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(here.running("mcp-queue", "gateway"))
        await stack.enter_async_context(here.running("mcp-queue", "consumer"))
        result = await here.greet()

    assert ("app.handlers", 1) == (result["by"], result["attempt"])


def test_config_check_finds_it_too(installation: Installation, project: Path, tmp_path: Path) -> None:
    """What it reports is what the processes would do."""
    shadow(project)
    here = place(installation, project, tmp_path / "var")
    check = partial(subprocess.run, cwd=project, env=here.variables, capture_output=True, text=True, check=False)
    command = [installation.bin / "mcp-queue", "config", "check"]

    done = check(command)
    assert (0, "") == (done.returncode, done.stderr)

    (project / "app" / "handlers.py").unlink()
    done = check(command)
    assert 2 == done.returncode
    assert "QUEUE_HANDLERS: cannot import app.handlers: No module named 'app.handlers'\n" == done.stderr


def test_a_handler_is_checked_against_the_types_of_the_package(installation: Installation, project: Path) -> None:
    """The wheel is typed: what does not exist, or does not fit, is found before it runs."""
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file="]
    mypy += ["--python-executable", str(installation.bin / "python")]
    assert "Success" in run(*mypy, "app/handlers.py", cwd=project)

    (project / "app" / "wrong.py").write_text(
        "from mcp_queue import RetryableError, TaskRooter\n\nRetryableError(delay=1)\n"
    )
    done = subprocess.run([*mypy, "app/wrong.py"], cwd=project, capture_output=True, text=True, check=False)
    assert ["attr-defined", "arg-type"] == re.findall(r"\[([a-z-]+)\]$", done.stdout, flags=re.MULTILINE)


def test_the_wheel_carries_its_licence_and_its_version(installation: Installation) -> None:
    """The version is that of the project, of the command and of the image."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    with zipfile.ZipFile(installation.wheel) as wheel:
        information = f"mcp_queue-{version}.dist-info"
        metadata = message_from_bytes(wheel.read(f"{information}/METADATA"))
        assert (ROOT / "LICENSE").read_bytes() == wheel.read(f"{information}/licenses/LICENSE")
        assert {"mcp_queue", information} == {name.partition("/")[0] for name in wheel.namelist()}
        assert "mcp_queue/py.typed" in wheel.namelist()

    assert ("Apache-2.0", "LICENSE") == (metadata["License-Expression"], metadata["License-File"])
    assert version == run(installation.bin / "mcp-queue", "--version").strip()
    assert [version] == re.findall(r"^ARG VERSION=(.*)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
