"""The product is read in small pieces: no module, function or folder is too large to take in."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.tools import ROOT

PRODUCT = ROOT / "app" / "mcp_queue"
#: A migration lists the tables of a version, and stays as it was released.
MIGRATIONS = PRODUCT / "adapters" / "ledger" / "migrations" / "versions"

MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_MODULES_IN_A_FOLDER = 16


def modules() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each module that is measured."""
    for path in sorted(PRODUCT.rglob("*.py")):
        if path.parent != MIGRATIONS:
            yield str(path.relative_to(PRODUCT)), path.read_text()


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Yield each function of a module and its number of lines, its decorators left out."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None, "the parser knows where a function ends"
            yield node.name, node.end_lineno - node.lineno + 1


def folders() -> Iterator[Path]:
    """Yield each folder of modules."""
    yield from sorted({path.parent for path in PRODUCT.rglob("*.py")})


def test_no_module_is_longer_than_350_lines() -> None:
    """One that grows past this has two purposes."""
    measured = {name: len(text.splitlines()) for name, text in modules()}
    assert len(measured) > 100
    assert {} == {name: lines for name, lines in measured.items() if lines > MAX_MODULE_LINES}


def test_no_function_is_longer_than_60_lines() -> None:
    """It fits on a screen, with its docstring."""
    measured = [(name, function, lines) for name, text in modules() for function, lines in functions(text)]
    assert len(measured) > 1000
    assert [] == [each for each in measured if each[2] > MAX_FUNCTION_LINES]


def test_no_folder_has_more_than_16_modules() -> None:
    """``__init__.py`` left out, which holds nothing but a line."""
    measured = {str(folder.relative_to(PRODUCT)): len(list(folder.glob("[!_]*.py"))) for folder in folders()}
    assert len(measured) > 20
    assert {} == {folder: count for folder, count in measured.items() if count > MAX_MODULES_IN_A_FOLDER}
