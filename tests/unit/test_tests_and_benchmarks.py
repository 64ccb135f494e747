"""What tests and benchmarks may build on."""

import re
from collections import Counter
from pathlib import Path

import pytest

from bench import postgres
from tests.support.tools import ROOT


def imports(directory: str, pattern: str) -> list[str]:
    """Return the lines of ``directory`` that import a module whose name matches ``pattern``."""
    importing = re.compile(rf"^\s*(?:from|import) {pattern}.*", re.MULTILINE)
    return [
        f"{path.relative_to(ROOT)}: {line}"
        for path in sorted((ROOT / directory).rglob("*.py"))
        for line in importing.findall(path.read_text())
    ]


def test_no_test_imports_a_test() -> None:
    """What two of them need lies in ``tests/support``, or beside them in a module that holds no tests."""
    assert [] == imports("tests", r"tests\.\S*\b(?:test_\w+|conftest)\b")


def test_no_two_classes_of_the_product_share_a_name() -> None:
    """A name means one thing, wherever it is met."""
    named = Counter(
        name
        for path in (ROOT / "app").rglob("*.py")
        for name in re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)
    )
    assert [] == [name for name, times in named.items() if times > 1]


def test_no_benchmark_imports_a_test() -> None:
    """Benchmarks run where only the product is installed."""
    assert [] == imports("bench", r"tests\b")


def test_benchmarks_leave_out_postgresql_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They say in one line what is missing, and measure the rest."""
    monkeypatch.setattr(postgres, "find_spec", lambda _: None)
    monkeypatch.setattr(postgres, "SYSTEM", tmp_path)
    assert ["none", "sqlite"] == postgres.without_missing(["none", "sqlite", "postgres"])
    assert re.fullmatch("postgres is left out: no PostgreSQL server .*\n", capsys.readouterr().err)
