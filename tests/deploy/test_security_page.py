"""The page on security: what it says is held by a test is."""

import re

from tests.support.tools import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
REFERENCES = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))


def test_every_test_that_is_named_exists() -> None:
    """A renamed test does not leave the page behind."""
    missing = [
        f"{file}::{name}"
        for file, name in REFERENCES
        if not (path := ROOT / "tests" / file).is_file()
        or re.search(rf"^(async )?def {name}\(", path.read_text(), re.MULTILINE) is None
    ]

    assert [] == missing


def test_every_row_names_a_test() -> None:
    """No defence is claimed that nothing holds."""
    rows = re.findall(r"^\| Defended \| Test \|\n\|[-|]+\|\n((?:\|.*\n?)+)", PAGE, re.MULTILINE)

    assert 5 == len(rows)
    assert [] == [row for table in rows for row in table.splitlines() if "::" not in row]
    assert len(REFERENCES) > 40
