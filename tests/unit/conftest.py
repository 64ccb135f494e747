"""Unit tests open no database: whoever tries is told where such a test belongs."""

import sqlite3
from typing import NoReturn

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest
from sqlalchemy.engine import Engine


def refuse(*_: object, **__: object) -> NoReturn:
    """Fail the test."""
    pytest.fail("a unit test opens no database: move it to tests/integration or tests/contract")


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every way to SQLite and to PostgreSQL."""
    for owner, name in ((sqlite3, "connect"), (asyncpg, "connect"), (Engine, "__init__")):
        monkeypatch.setattr(owner, name, refuse)
