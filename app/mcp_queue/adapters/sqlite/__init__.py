"""The embedded queue: one SQLite file that all processes of a machine share."""

from mcp_queue.adapters.sqlite.backend import SqliteBackend
from mcp_queue.adapters.sqlite.pauses import SqlitePauseSwitch
from mcp_queue.adapters.sqlite.queue import SqliteQueue

__all__ = ["SqliteBackend", "SqlitePauseSwitch", "SqliteQueue"]
