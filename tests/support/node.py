"""Other SQS clients, run by Node where it is installed."""

import asyncio
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.tools import CACHE, unavailable

SOURCES = Path(__file__).parents[1] / "integration" / "sqs" / "npm"


def npm_scripts() -> Path:
    """Return where the clients' scripts lie; the clients are installed at first use, by one process at a time."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        unavailable("Node is not installed")
    sources = sorted(SOURCES.iterdir())
    key = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    home = CACHE / f"npm-{key}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "installed").exists():
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(SOURCES, home)
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
