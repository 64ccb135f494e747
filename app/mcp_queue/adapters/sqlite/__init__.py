"""The embedded queue: one SQLite file, shared by all processes of a machine."""

from mcp_queue.adapters.sqlite.backend import SqliteBackend
from mcp_queue.adapters.sqlite.pauses import SqlitePauseSwitch
from mcp_queue.adapters.sqlite.queue import SqliteQueue

__all__ = ["SqliteBackend", "SqlitePauseSwitch", "SqliteQueue"]
