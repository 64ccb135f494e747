"""The servers that play SQS in the tests: what they have in common, and moto's server."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

LAUNCHER = Path(__file__).with_name("moto_launcher.py")
#: Seconds in which moto ends; it has nothing to save.
STOP_LIMIT = 5


class Emulator(Protocol):
    """A running server that plays SQS, and where it is."""

    @property
    def url(self) -> str:
        """The address, without a path."""
        ...


@dataclass(frozen=True)
class Moto:
    """A running moto server with SQS and S3."""

    url: str


def aws_environment(url: str, *, key: str = "test", region: str = "us-east-1") -> dict[str, str]:
    """Return the variables that send AWS clients to ``url``, and keep the machine's own AWS set-up out."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def use_endpoint(monkeypatch: pytest.MonkeyPatch, url: str, *, key: str = "test", region: str = "us-east-1") -> None:
    """Send this process's AWS clients to ``url`` for the length of a test."""
    for name, value in aws_environment(url, key=key, region=region).items():
        monkeypatch.setenv(name, value)


def moto_of_session(config: pytest.Config) -> Moto:
    """Return the moto server of this test session. The first caller starts it."""
    if _KEY not in config.stash:
        stack = contextlib.ExitStack()
        config.add_cleanup(stack.close)
        config.stash[_KEY] = stack.enter_context(running_moto())
    return config.stash[_KEY]


_KEY = pytest.StashKey[Moto]()


@contextlib.contextmanager
def running_moto() -> Iterator[Moto]:
    """Run moto's server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, LAUNCHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COV"))},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        # The server prints its port once it listens; a process that ended prints an empty line.
        port = process.stdout.readline().strip().decode()
        if not port:
            message = f"moto's server did not start (exit code {process.wait()})"
            raise RuntimeError(message)
        yield Moto(f"http://127.0.0.1:{port}")
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
