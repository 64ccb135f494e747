"""What both processes do alike."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mcp_queue.config import load_settings
from mcp_queue.domain.errors import QueueSetupError
from mcp_queue.wiring.process import make_directory, make_private_file, start_logging


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


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_data_is_closed_to_other_users(tmp_path: Path, umask: int) -> None:
    """Tasks lie there as they were sent."""
    directory, file = tmp_path / "a" / "data", tmp_path / "queue.db"
    (tmp_path / "a").mkdir()
    before = os.umask(umask)
    try:
        make_directory(directory, "QUEUE_DATA_DIR")
        make_private_file(file, "QUEUE_DATA_DIR")
    finally:
        os.umask(before)
    assert (0o700, 0o600) == (directory.stat().st_mode & 0o777, file.stat().st_mode & 0o777)


def test_existing_data_keeps_its_rights_and_its_owner_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody may have given them on purpose."""
    tmp_path.chmod(0o750)
    file = tmp_path / "queue.db"
    file.write_bytes(b"kept")
    file.chmod(0o644)
    make_directory(tmp_path, "QUEUE_DATA_DIR")
    make_private_file(file, "QUEUE_DATA_DIR")
    assert (0o750, 0o644, b"kept") == (tmp_path.stat().st_mode & 0o777, file.stat().st_mode & 0o777, file.read_bytes())
    assert ["750", "644"] == [record.getMessage().partition("mode is ")[2] for record in caplog.records]


def test_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    """The operator reads which setting it is about."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(QueueSetupError, match="QUEUE_DATA_DIR: cannot make the directory"):
        make_directory(file, "QUEUE_DATA_DIR")
