"""The public face of mcp-queue: everything that a module of handlers imports.

A name is imported from its home when it is first used, so that ``mcp-queue --help`` answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp_queue.domain.errors import PermanentError, RetryableError
    from mcp_queue.domain.task import JsonValue, Task, TaskResult
    from mcp_queue.ports.callbacks import CallbackSender, EmbeddingClient
    from mcp_queue.ports.clock import Clock
    from mcp_queue.services.execution.router import TaskRouter

__all__ = [
    "CallbackSender",
    "Clock",
    "EmbeddingClient",
    "JsonValue",
    "PermanentError",
    "RetryableError",
    "Task",
    "TaskResult",
    "TaskRouter",
]

if not TYPE_CHECKING:  # a type checker would take every misspelt name for one of these
    _HOMES = {
        "CallbackSender": "mcp_queue.ports.callbacks",
        "Clock": "mcp_queue.ports.clock",
        "EmbeddingClient": "mcp_queue.ports.callbacks",
        "JsonValue": "mcp_queue.domain.task",
        "PermanentError": "mcp_queue.domain.errors",
        "RetryableError": "mcp_queue.domain.errors",
        "Task": "mcp_queue.domain.task",
        "TaskResult": "mcp_queue.domain.task",
        "TaskRouter": "mcp_queue.services.execution.router",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
