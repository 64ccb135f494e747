"""What ``mcp_queue`` offers to the code of its users."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mcp_queue

ROOT = Path(__file__).parents[2]
IMPORT = r"^\s*(?:from (mcp_queue[.\w]*) import (.*)|import (mcp_queue[.\w]*))"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "docs").rglob("*.py"))]


def imported_by_type_checkers() -> set[str]:
    """Return the names that ``mcp_queue`` imports for type checkers."""
    (block,) = [
        node
        for node in ast.parse(Path(mcp_queue.__file__).read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_every_public_name_is_there_for_programs_and_for_type_checkers() -> None:
    """One list, said three times."""
    for name in mcp_queue.__all__:
        assert getattr(mcp_queue, name).__name__ == name
    assert set(mcp_queue.__all__) == imported_by_type_checkers()
    assert set(mcp_queue.__all__) <= set(dir(mcp_queue))


def test_a_misspelt_name_fails_as_in_any_module() -> None:
    """``import`` names it."""
    with pytest.raises(ImportError, match="cannot import name 'TaskRooter' from 'mcp_queue'"):
        from mcp_queue import TaskRooter  # type: ignore[attr-defined]  # noqa: F401, PLC0415  # that is what is tested


def test_nothing_is_imported_before_it_is_used() -> None:
    """The command line pays for no name that it does not use."""
    code = "import mcp_queue, sys; print(sorted(name for name in sys.modules if name.startswith('mcp_queue')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "['mcp_queue']\n" == done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_documentation_imports_public_names_only(page: Path) -> None:
    """What a page tells users to import may not move."""
    imports = re.findall(
        r"^\s*(?:from (mcp_queue[.\w]*) import (.*)|import (mcp_queue[.\w]*))", page.read_text(), re.MULTILINE
    )
    for source, names, plain in imports:
        assert (source or plain) in {"mcp_queue", "mcp_queue.testing"}
        if source == "mcp_queue":
            assert {name.strip(" ()") for name in names.split(",")} - {""} <= set(mcp_queue.__all__)
