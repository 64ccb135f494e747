"""A process that is told to stop, or finds a mistake, while it starts."""

from pathlib import Path

import pytest

from tests.support.processes.cli import run_cli
from tests.support.tools import ROOT

STOPPED = """
import os
import signal

from mcp_queue import TaskRouter

router = TaskRouter()
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize("process", ["gateway", "consumer"])
async def test_signal_during_the_start_ends_it_cleanly(process: str, tmp_path: Path) -> None:
    """An orchestrator may change its mind: that is no failure."""
    (tmp_path / "stopped.py").write_text(STOPPED)
    ended = await run_cli(
        process,
        PYTHONPATH=f"{ROOT}:{tmp_path}",
        QUEUE_HANDLERS="stopped",
        QUEUE_DATA_DIR=str(tmp_path / "data"),
        GATEWAY_AUTH="none",
    )
    assert 0 == ended.exit_code, ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("command", [["gateway"], ["consumer"], ["dev"], ["config", "check"], ["ledger", "migrate"]])
async def test_bad_port_of_the_ledger_is_found_by_every_command(command: list[str]) -> None:
    """Before anything is started."""
    ended = await run_cli(*command, LEDGER_URL="postgresql://db:port/x")
    assert 2 == ended.exit_code
    assert "LEDGER_URL: the port is no number from 1 to 65535" in ended.err
    assert "Traceback" not in ended.err
