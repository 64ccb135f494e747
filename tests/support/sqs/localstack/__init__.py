"""LocalStack for the tests: installed once into the checkout's cache, started once a session, gone with it."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.processes import free_port
from tests.support.tools import CACHE

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
LOCK = HERE / "requirements.lock"
#: Seconds. It answers after one to three, on a busy machine later.
START_LIMIT = 60
STOP_LIMIT = 10


@dataclass(frozen=True)
class LocalStack:
    """A running LocalStack with SQS, S3 and CloudWatch."""

    url: str

    def environment(self) -> dict[str, str]:
        """Return the variables that make AWS clients use it, and nothing of the machine's own AWS set-up."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def of_session(config: pytest.Config) -> LocalStack:
    """Return the LocalStack of this test session; the first who asks starts it."""
    if _KEY not in config.stash:
        stack = contextlib.ExitStack()
        config.add_cleanup(stack.close)
        config.stash[_KEY] = stack.enter_context(running_localstack())
    return config.stash[_KEY]


def use_localstack(config: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    """Point this process's AWS clients at the session's LocalStack for the length of a test."""
    localstack = of_session(config)
    for name, value in localstack.environment().items():
        monkeypatch.setenv(name, value)
    return localstack


_KEY = pytest.StashKey[LocalStack]()


@contextlib.contextmanager
def running_localstack() -> "Iterator[LocalStack]":
    """Run LocalStack in a process of its own."""
    python = installed()
    # It clears what it finds in its temporary directory, and writes to its home.
    with tempfile.TemporaryDirectory(prefix="localstack-", ignore_cleanup_errors=True) as directory:
        port = free_port()
        process = subprocess.Popen(
            [python, HERE / "launcher.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(Path(directory), port),
        )
        try:
            localstack = LocalStack(f"http://127.0.0.1:{port}")
            _await_answer(localstack, process)
            yield localstack
        finally:
            _stop(process)


def installed() -> Path:
    """Return the Python of LocalStack's environment; it is made at first use, by one process at a time."""
    key = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = CACHE / f"localstack-{key}"
    done = home / "installed"
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    with (CACHE / "localstack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", home], check=True)
            install = ["pip", "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", str(LOCK)]
            subprocess.run([str(home / "bin" / "python"), "-m", *install], check=True, stderr=subprocess.PIPE)
            done.touch()
    return home / "bin" / "python"


def _environment(directory: Path, port: int) -> dict[str, str]:
    (directory / "home").mkdir()
    (directory / "fs").mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return kept | {
        "OVERRIDE_IN_DOCKER": "0",
        "TMPDIR": str(directory),
        "HOME": str(directory / "home"),
        "FILESYSTEM_ROOT": str(directory / "fs"),
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "SERVICES": "sqs,s3,cloudwatch",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DISABLE_EVENTS": "1",
        "DNS_ADDRESS": "0",
        "EAGER_SERVICE_LOADING": "1",
        "SQS_ENDPOINT_STRATEGY": "dynamic",
        "SQS_DELAY_PURGE_RETRY": "1",
        "SQS_DISABLE_CLOUDWATCH_METRICS": "1",
        "LS_LOG": "error",
    }


def _await_answer(localstack: LocalStack, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{localstack.url}/_localstack/health", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)  # a process that starts gives no signal but its answer
    message = f"LocalStack does not answer (exit code {process.poll()})"
    raise RuntimeError(message)


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
