"""The embedded queue: one SQLite file that all processes of a machine share."""

from app.adapters.sqlite.backend import SqliteBackend
from app.adapters.sqlite.pauses import SqlitePauseSwitch
from app.adapters.sqlite.queue import SqliteQueue

__all__ = ["SqliteBackend", "SqlitePauseSwitch", "SqliteQueue"]
