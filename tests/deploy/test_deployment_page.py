"""The page on deployment: its values and overlay are accepted, and its backups can be restored."""

import os
import re
import shlex
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import helm_python
import pytest
import yaml

from tests.support.ledger import shared_postgres
from tests.support.tools import ROOT, output_of, program

PAGE = (ROOT / "docs" / "deployment.md").read_text()
CHART = ROOT / "deploy" / "helm" / "mcp-queue"


def code(language: str, word: str) -> str:
    """Return the one block of code in ``language`` that has ``word`` in it."""
    blocks = re.findall(rf"^ *```{language}\n(.*?)^ *```", PAGE, flags=re.DOTALL | re.MULTILINE)
    (found,) = [block for block in blocks if word in block]
    return str(found)


def test_the_values_are_accepted_by_the_chart() -> None:
    """And they do what they say: another image, a scaled consumer, ServiceMonitors."""
    values = yaml.safe_load(code("yaml", "serviceMonitors:"))
    with helm_python.Chart.load(CHART) as chart:
        rendered = "".join(chart.render(values, name="mcp-queue", namespace="mcp-queue").values())
    for expected in ("image: registry.example/mcp-queue:", "kind: ScaledObject", "kind: ServiceMonitor"):
        assert expected in rendered


def test_the_overlay_builds(tmp_path: Path) -> None:
    """With the project in a directory beside it."""
    (tmp_path / "mcp-queue").mkdir()
    (tmp_path / "mcp-queue" / "deploy").symlink_to(ROOT / "deploy")
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(code("yaml", "kind: Kustomization"))
    (overlay / "mcp-queue.yaml").write_text("queue: {}\n")
    built = output_of(program("kubectl"), "kustomize", overlay)
    assert "image: registry.example/mcp-queue:0.1.0" in built
    assert "AWS_REGION: eu-central-1" in built


def migrated(url: str) -> None:
    """Bring the tables at ``url`` up to date, as an operator does."""
    output_of(sys.executable, "-m", "mcp_queue", "ledger", "migrate", cwd=ROOT, env={"LEDGER_URL": url})


def test_a_backup_of_sqlite_has_what_is_not_in_the_file_yet(tmp_path: Path) -> None:
    """The command is run while the ledger is open, and with rows in its write-ahead log."""
    migrated(f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}")
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as open_ledger:
        open_ledger.execute("PRAGMA journal_mode = WAL")
        open_ledger.execute("PRAGMA wal_autocheckpoint = 0")
        open_ledger.execute("CREATE TABLE marks (mark TEXT)")
        open_ledger.execute("INSERT INTO marks VALUES ('not in the file yet')")
        command = shlex.split(code("sh", "sqlite3").strip())
        assert "python3" == command[0]
        output_of(sys.executable, *command[1:], cwd=tmp_path)

    with closing(sqlite3.connect(tmp_path / "ledger-backup.db")) as restored:
        assert [("not in the file yet",)] == restored.execute("SELECT mark FROM marks").fetchall()
    migrated(f"sqlite+aiosqlite:///{tmp_path / 'ledger-backup.db'}")


async def test_a_backup_of_postgresql_is_restored_into_an_empty_database(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """By the two commands of the page. The program then finds the tables that it needs, and what was in them."""
    server = shared_postgres(request.config)
    source, target = await server.create_database(), await server.create_database()
    tools = server._binaries

    def run(command: str, database: str) -> str:
        address = server.url(database).replace("+asyncpg", "")
        variables = {"PATH": f"{tools}:{os.environ['PATH']}", "DATABASE": address}
        return output_of("sh", "-c", command, cwd=tmp_path, env=variables)

    try:
        migrated(server.url(source))
        run("psql --quiet --dbname=$DATABASE --command=\"CREATE TABLE marks AS SELECT 'kept' AS mark\"", source)
        run(code("sh", "pg_dump"), source)
        (restore,) = re.findall(r"`(pg_restore [^`]*)`", PAGE)
        run(restore, target)
        migrated(server.url(target))
        found = run('psql --dbname=$DATABASE --tuples-only --command="SELECT mark FROM marks, alembic_version"', target)
        assert "kept" == found.strip()
    finally:
        await server.drop_database(source)
        await server.drop_database(target)
