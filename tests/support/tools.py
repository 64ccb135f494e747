"""Programs of others that tests run, and where things lie in the checkout.

Where a program is missing, the test is skipped with that reason; in CI it fails.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache"
_NPM = ROOT / "tests" / "integration" / "sqs" / "npm"


def unavailable(reason: str) -> NoReturn:
    """Skip the test; in CI fail it, since nobody reads there what was skipped."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def program(name: str) -> Path:
    """Return the program ``name``: from the environment that the tests run in, or from this machine."""
    inside = Path(sys.executable).with_name(name)
    found = inside if inside.exists() else shutil.which(name)
    if found is None:
        unavailable(f"{name} is not installed")
    return Path(found)


def output_of(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run ``command`` and return its standard output; fail the test with both outputs if it does not exit with 0."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


def debian_package(name: str) -> Path:
    """Return the directory into which Debian's package ``name`` is unpacked; it is fetched at first use, without root.

    What the package depends on is not fetched: this is for programs that need the C library alone.
    """
    home = CACHE / f"debian-{name}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"debian-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "unpacked").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            _unpack(name, home)
            (home / "unpacked").touch()
    return home


def npm_scripts() -> Path:
    """Return where the clients' scripts lie; the clients are installed at first use, by one process at a time."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        unavailable("Node is not installed")
    sources = sorted(_NPM.iterdir())
    key = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    home = CACHE / f"npm-{key}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "installed").exists():
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(_NPM, home)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=home, check=True, capture_output=True)
            (home / "installed").touch()
    return home


async def run_node(script: Path, *arguments: str, variables: Mapping[str, str]) -> str:
    """Run a script to its end; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        "node",
        script,
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **variables},
    )
    output, errors = await process.communicate()
    assert 0 == process.returncode, errors.decode()
    return output.decode()


def _unpack(name: str, home: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        unavailable(f"{name} comes as a Debian package, and this is no Debian")
    # Lists of one's own: those of the machine may be old, and only root may renew them.
    for directory in ("state/lists/partial", "cache/archives/partial"):
        (home / directory).mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::State={home / 'state'}", "-o", f"Dir::Cache={home / 'cache'}",
           "-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "APT::Sandbox::User="]  # fmt: skip
    for step in ([*apt, "update"], [*apt, "download", name]):
        done = subprocess.run(step, cwd=home, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode != 0:
            unavailable(f"{name} cannot be fetched: {done.stderr.strip()}")
    archive = next(home.glob(f"{name}_*.deb"))
    subprocess.run(["dpkg", "-x", archive, home], check=True)
    archive.unlink()
    shutil.rmtree(home / "state")
    shutil.rmtree(home / "cache")
