"""What the tests of the configuration share."""

from pathlib import Path

import pytest

from tests.support.config import ConfigFile


@pytest.fixture
def config_file(tmp_path: Path) -> ConfigFile:
    """Return a file to be written."""
    return ConfigFile(tmp_path / "queue.yaml")
