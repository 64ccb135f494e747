"""Runs groups of commands as transactions, in the writer's thread."""

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from mcp_queue.adapters.sqlite.engine.clock_steps import ClockSteps
from mcp_queue.adapters.sqlite.engine.command import Transaction, WriteCommand, timestamp
from mcp_queue.adapters.sqlite.engine.errors import breaks_connection, fails_every_command, translated
from mcp_queue.adapters.sqlite.engine.file import QueueFile
from mcp_queue.adapters.sqlite.receive import Receive
from mcp_queue.ports import Clock


class GroupOutcome(NamedTuple):
    """The outcome or error of each command, and the queues that may have more to receive."""

    outcomes: Sequence[object]
    woken: frozenset[str]


class Executor:
    """Runs commands on a connection of its own, which it opens for the first group."""

    def __init__(self, file: QueueFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._steps = ClockSteps(clock)

    def run(self, commands: "Sequence[WriteCommand[Any]]") -> GroupOutcome:
        """Return an outcome or an error for each command; never raises."""
        try:
            return self._attempt(commands)
        except sqlite3.Error as error:
            self._file.failed(error)
            self._abort(broken=breaks_connection(error))
            if len(commands) == 1 or fails_every_command(error):
                return GroupOutcome([translated(error) for _ in commands], frozenset())
        except Exception as error:  # noqa: BLE001  # whatever one command does must reach its caller, not end the thread
            self._abort(broken=False)
            if len(commands) == 1:
                return GroupOutcome(
                    [translated(error) if isinstance(error, UnicodeEncodeError) else error], frozenset()
                )
        apart = [self.run([command]) for command in commands]
        return GroupOutcome(
            [outcome for done in apart for outcome in done.outcomes],
            frozenset[str]().union(*(done.woken for done in apart)),
        )

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _attempt(self, commands: "Sequence[WriteCommand[Any]]") -> GroupOutcome:
        transaction = self._transaction()
        outcomes: dict[WriteCommand[Any], object] = {}
        for command in commands:
            if (answer := command.peek(transaction)) is not None:
                outcomes[command] = answer
        changes = [command for command in commands if command not in outcomes]
        if changes:
            transaction.connection.execute("BEGIN IMMEDIATE")
            transaction.now = timestamp(self._clock.now())  # again: the lock may have taken its time
            for kind in _kinds(changes):
                asked = [command for command in changes if type(command) is kind]
                outcomes.update(zip(asked, kind.apply_all(transaction, asked), strict=True))
            transaction.connection.execute("COMMIT")
        return GroupOutcome([outcomes[command] for command in commands], frozenset(transaction.woken))

    def _transaction(self) -> Transaction:
        self._file.check_place()
        if self._connection is None:
            self._connection = self._connected()
        self._steps.follow(self._connection)
        return Transaction(self._connection, timestamp(self._clock.now()))

    def _connected(self) -> sqlite3.Connection:
        connection = self._file.connect()
        try:
            self._steps.begin(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _abort(self, *, broken: bool) -> None:
        if self._connection is None:
            return
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            broken = True
        if broken:
            self.close()


def _kinds(commands: "Sequence[WriteCommand[Any]]") -> "list[type[WriteCommand[Any]]]":
    """Return the classes of the commands; receives come last, so that they find what the others enqueue."""
    kinds = cast("list[type[WriteCommand[Any]]]", list(dict.fromkeys(type(command) for command in commands)))
    return sorted(kinds, key=lambda kind: kind is Receive)
