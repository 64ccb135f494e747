"""Loads the configured handlers, and lists the known task types, payloads and destinations."""

import importlib
from collections.abc import Sequence

from pydantic import BaseModel

from mcp_queue.config.settings import Settings
from mcp_queue.domain.callbacks.destinations import target_of
from mcp_queue.domain.enqueueing.payloads import common_payloads
from mcp_queue.domain.errors import QueueSetupError
from mcp_queue.services.execution.router import TaskRouter

_BUILT_IN = ("mcp_queue.handlers.echo", "mcp_queue.handlers.webhook", "mcp_queue.handlers.embedding")


def load_router(modules: Sequence[str]) -> TaskRouter:
    """Import each module and merge its ``router``. Built-in handlers take the task types that none of them handles.

    Raises:
        QueueSetupError: a module cannot be imported, has no ``router``, or two of them handle the same task type.

    """
    merged = TaskRouter()
    for name in modules:
        try:
            merged.merge(_router_of(name))
        except ValueError as error:
            message = f"QUEUE_HANDLERS: {error}"
            raise QueueSetupError(message) from error
    for name in _BUILT_IN:
        merged.fall_back_on(_router_of(name))
    return merged


def _router_of(name: str) -> TaskRouter:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a project's module may raise anything
        message = f"QUEUE_HANDLERS: cannot import {name}: {error}"
        raise QueueSetupError(message) from error
    router = getattr(module, "router", None)
    if not isinstance(router, TaskRouter):
        message = f"QUEUE_HANDLERS: {name} declares no router = TaskRouter()"
        raise QueueSetupError(message)
    return router


def known_payloads(router: TaskRouter) -> dict[str, type[BaseModel]]:
    """Return the payload models that the gateway validates; a handler's own overrides the product's."""
    return {**common_payloads(), **router.payload_models()}


def known_types(settings: Settings, router: TaskRouter) -> frozenset[str]:
    """Return the task types that are metric labels of their own."""
    return router.types() | {route.type for route in settings.routes} | frozenset(common_payloads())


def known_destinations(settings: Settings) -> frozenset[str]:
    """Return the destinations that are metric labels of their own."""
    targets = (target_of(route.callback_url, route.name) for route in settings.routes)
    limited = (rule.name for rule in settings.destinations)
    return frozenset([*(target.name for target in targets if target), *filter(None, limited)])
