"""What both processes do alike."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mcp_queue.config import load_settings
from mcp_queue.wiring.process import start_logging


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    """Give the process its own logging back."""
    loggers = [logging.getLogger(name) for name in (None, "mcp_queue")]
    levels, handlers = [each.level for each in loggers], loggers[0].handlers[:]
    yield
    loggers[0].handlers[:] = handlers
    for each, level in zip(loggers, levels, strict=True):
        each.setLevel(level)


def test_what_is_probably_not_meant_is_said_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Each warning of the configuration is a line of its own."""
    start_logging(replace(load_settings({"LOG_FORMAT": "text"}), warnings=("LEDGER_URL: odd", "second")))

    lines = capsys.readouterr().err.splitlines()
    assert ["LEDGER_URL: odd", "second"] == [line.partition("mcp_queue.wiring.process: ")[2] for line in lines]
