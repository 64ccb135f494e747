"""Corrects the times in the file when the machine's time of day steps."""

import sqlite3
from datetime import timedelta
from typing import Final

from mcp_queue.adapters.sqlite.engine.command import microseconds, timestamp
from mcp_queue.domain.queues import DEDUPLICATION_WINDOW
from mcp_queue.ports import Clock

# Slewing by NTP stays below this for half an hour, and no lease is as short.
_TOLERANCE: Final = microseconds(timedelta(seconds=1))

_FOLLOWED = "SELECT value FROM counters WHERE name = 'clock_steps'"
_FOLLOW = "UPDATE counters SET value = value + ? WHERE name = 'clock_steps'"
# The queues are listed so that the indexes, which begin with the queue, are used.
_HIDDEN = "queue IN (SELECT queue FROM depths) AND visible_at > :now"
_ASTRAY = f"""
    SELECT EXISTS (SELECT 1 FROM messages WHERE {_HIDDEN} AND received_at IS NOT NULL AND received_at > :now)
        OR EXISTS (SELECT 1 FROM messages WHERE {_HIDDEN} AND visible_at <= sent_at)
        OR EXISTS (SELECT 1 FROM first_copies WHERE forgotten_at > :now + :window)
"""  # noqa: S608  # constants
# Leases and waits that ran at the step go on for as long as was left of them.
_SHIFT_WAITS = """
    UPDATE messages SET visible_at = visible_at + :step, received_at = received_at + :step
    WHERE queue IN (SELECT queue FROM depths) AND visible_at > min(:now, :now - :step) AND received_at IS NOT NULL
"""
_SHIFT_COPIES = "UPDATE first_copies SET forgotten_at = forgotten_at + :step"
# What lies in the future without a reason comes from before a step that no process saw.
_RESTART_WAITS = f"""
    UPDATE messages SET visible_at = visible_at - (received_at - :now), received_at = :now
    WHERE {_HIDDEN} AND received_at IS NOT NULL AND received_at > :now
"""  # noqa: S608  # constants
_SHOW_UNDELAYED = f"""
    UPDATE messages SET visible_at = :now WHERE {_HIDDEN} AND visible_at <= sent_at AND received_at IS NULL
"""  # noqa: S608  # constants
_CUT_WINDOWS = "UPDATE first_copies SET forgotten_at = :now + :window WHERE forgotten_at > :now + :window"


class ClockSteps:
    """Notices steps of the time of day by the monotonic clock, and applies each to the file once.

    Every process of the machine sees the same step, each at its next transaction: the file adds up what was applied,
    and a process applies only what was not since it last looked.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = 0
        self._followed = 0

    def begin(self, connection: sqlite3.Connection) -> None:
        """Look at the file for the first time, after a time in which the clock may have stepped unseen."""
        self._offset = self._read_offset()
        self._followed = _followed(connection)
        now = timestamp(self._clock.now())
        if connection.execute(_ASTRAY, {"now": now, "window": microseconds(DEDUPLICATION_WINDOW)}).fetchone()[0]:
            self._apply(connection)

    def follow(self, connection: sqlite3.Connection) -> None:
        """Apply a step since the last call, if there was one; ``connection`` is in no transaction."""
        if abs(self._read_offset() - self._offset) > _TOLERANCE:
            self._apply(connection)

    def _apply(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        offset, followed = self._read_offset(), _followed(connection)
        seen = offset - self._offset
        # Never more than was seen: what others applied may include a step from before this process began.
        step = _between(0, seen - (followed - self._followed), seen)
        now = timestamp(self._clock.now())
        values = {"now": now, "step": step, "window": microseconds(DEDUPLICATION_WINDOW)}
        if abs(step) > _TOLERANCE:
            connection.execute(_SHIFT_WAITS, values)
            connection.execute(_SHIFT_COPIES, values)
            connection.execute(_FOLLOW, (step,))
            followed += step
        for statement in (_RESTART_WAITS, _SHOW_UNDELAYED, _CUT_WINDOWS):
            connection.execute(statement, values)
        connection.execute("COMMIT")
        self._offset, self._followed = offset, followed

    def _read_offset(self) -> int:
        return timestamp(self._clock.now()) - int(self._clock.monotonic() * 1_000_000)


def _followed(connection: sqlite3.Connection) -> int:
    return int(connection.execute(_FOLLOWED).fetchone()[0])


def _between(one: int, value: int, other: int) -> int:
    return max(min(one, other), min(value, max(one, other)))
