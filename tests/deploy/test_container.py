"""The Dockerfile and what surrounds it."""

import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bench.processes import free_port
from mcp_queue.config import load_settings
from tests.support.config import known_variables
from tests.support.tools import ROOT, output_of, program

DOCKERFILE = ROOT / "Dockerfile"
LOCK = ROOT / "requirements" / "app.lock"


def instructions(stage: int) -> list[tuple[str, str]]:
    """Return the instructions of a stage, each with what follows it, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, re.sub(r"\s+", " ", rest)))
    return stages[stage]


def only(word: str, stage: int = -1) -> str:
    """Return what follows the one instruction ``word`` of a stage."""
    (found,) = [rest for instruction, rest in instructions(stage) if instruction == word]
    return found


def test_the_linter_finds_nothing() -> None:
    """By hadolint's rules, none of them switched off."""
    assert "" == output_of(program("hadolint"), "--failure-threshold", "style", DOCKERFILE)


def test_both_stages_stand_on_one_exact_python() -> None:
    """The tag names the patch release, and it is the Python that these tests run on."""
    (tag,) = {only("FROM", stage).partition(" ")[0] for stage in (0, 1)}
    found = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-\w+", tag)
    assert found is not None
    assert f"{sys.version_info.major}.{sys.version_info.minor}" == found[1]


def test_everything_copied_is_there_and_let_through() -> None:
    """A file that the ignore file holds back would only be missed by the build."""
    sources = [
        source
        for stage in (0, 1)
        for word, rest in instructions(stage)
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_through == set(sources)
    assert [] == [source for source in sources if not (ROOT / source).exists()]


def test_the_build_tool_is_locked_as_the_project_asks() -> None:
    """The image builds the package with the setuptools of the lock, whose hash was checked."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        (requirement,) = tomllib.load(file)["build-system"]["requires"]
    name, least = requirement.split(">=")
    locked = re.search(rf"^{name}==(\d+)[\d.]* \\\n    --hash=sha256:", LOCK.read_text(), flags=re.MULTILINE)
    assert locked is not None
    assert int(locked[1]) >= int(least)


def test_the_process_is_no_root_and_gets_the_signal() -> None:
    """A numeric user, which Kubernetes can judge, and the exec form, which leaves no shell before the process."""
    assert "10001:10001" == only("USER")
    assert "SIGTERM" == only("STOPSIGNAL")
    assert '["mcp-queue"]' == only("ENTRYPOINT")
    assert '["gateway"]' == only("CMD")


def test_ports_and_variables_are_those_of_the_settings() -> None:
    """What the image sets exists, and what it exposes is what the processes listen on."""
    settings = load_settings({})
    assert [str(settings.gateway.port), str(settings.consumer.port)] == only("EXPOSE").split()
    variables = {setting.partition("=")[0] for setting in only("ENV").split(" ")}
    assert set() == variables - {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"} - known_variables()


def test_the_image_is_labelled() -> None:
    """With the keys of the OCI image specification."""
    keys = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", only("LABEL")))
    assert {"title", "description", "licenses", "version", "revision"} == keys


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Answer every request with ``status``; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def health(gateway_port: int, consumer_port: int, **others: str) -> int:
    """Return the exit code of the health check that the image runs."""
    arguments = re.search(r"CMD \[(.*)\]", only("HEALTHCHECK"))
    assert arguments is not None
    assert '"python", "/opt/mcp-queue/healthcheck.py"' == arguments[1]
    variables = {"GATEWAY_PORT": str(gateway_port), "CONSUMER_PORT": str(consumer_port), **others}
    return subprocess.run([sys.executable, ROOT / "deploy" / "healthcheck.py"], env=variables, check=False).returncode


def test_the_health_check_finds_either_process() -> None:
    """One of the two runs in a container; the check need not be told which."""
    with answering(200) as port:
        assert 0 == health(port, free_port())
        assert 0 == health(free_port(), port)


def test_the_health_check_follows_the_gateways_health() -> None:
    """To a port of its own, and behind a key, which the check does not have."""
    with answering(401) as port:
        assert 0 == health(free_port(), free_port(), GATEWAY_METRICS_PORT=str(port))
    with answering(200) as port:
        assert 1 == health(port, free_port(), GATEWAY_METRICS_PORT=str(free_port()))


@pytest.mark.parametrize("status", [500, 503])
def test_the_health_check_fails_on_a_bad_answer(status: int) -> None:
    """An answer alone is no health."""
    with answering(status) as port:
        assert 1 == health(port, free_port())


def test_the_health_check_fails_without_an_answer() -> None:
    """As while the process hangs or starts."""
    assert 1 == health(free_port(), free_port())


def test_the_health_check_needs_nothing_but_python() -> None:
    """It runs every five seconds in every container, so that it imports little."""
    source = Path(ROOT / "deploy" / "healthcheck.py").read_text()
    assert {"os", "sys", "http", "http.client"} == set(
        re.findall(r"^(?:from|import) ([\w.]+)", source, flags=re.MULTILINE)
    )
