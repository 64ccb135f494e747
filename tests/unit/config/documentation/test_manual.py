"""The page of the documentation that lists every setting."""

from pathlib import Path

from mcp_queue.config.documentation.manual import configuration_page
from mcp_queue.config.schema.document import every_setting

ROOT = Path(__file__).parents[4]


def test_every_setting_stands_in_the_manual() -> None:
    """Whoever looks for a variable finds it there."""
    page = configuration_page()

    assert [] == [setting.env_var.name for setting in every_setting() if f"`{setting.env_var.name}`" not in page]


def test_the_committed_manual_is_the_generated_one() -> None:
    """It is written by make manual."""
    assert configuration_page() == (ROOT / "docs" / "configuration.md").read_text()


def test_every_member_of_a_list_is_described() -> None:
    """No cell of the member tables is empty."""
    assert "|  |" not in configuration_page().split("\n## Queues")[1]
