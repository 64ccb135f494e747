"""Finds the handler of a task and calls it."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar, get_type_hints

from pydantic import BaseModel

from mcp_queue.domain.errors import (
    InvalidPayloadError,
    InvalidTaskError,
    PermanentError,
    RetryableError,
    UnknownTaskTypeError,
)
from mcp_queue.domain.execution.retry import describe
from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.services.enqueueing.validation import validated

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class TaskHandler(Protocol):
    """Executes tasks of one type."""

    async def handle(self, task: Task) -> JsonValue:
        """Return the task's result, or raise what the attempt failed with."""
        ...


class TaskRouter:
    """Maps task types to functions.

    A handler is an async function, or a sync one, which runs in a thread of its own. Its parameters are told apart by
    their annotations: ``Task`` is the task, the payload model is the validated payload, and every other type is
    looked up among the services that ``run`` is given.
    """

    def __init__(self) -> None:
        self._routes: dict[str, _Route] = {}

    def task(self, task_type: str, *, payload: type[BaseModel] | None = None) -> Callable[[FunctionT], FunctionT]:
        """Register the decorated function for ``task_type``, whose payload is validated against ``payload``.

        Raises:
            ValueError: the type has a handler already, or a parameter has no annotation.

        """

        def register(function: FunctionT) -> FunctionT:
            self._add(task_type, _Route(function, payload, _parameters(function)))
            return function

        return register

    def merge(self, other: "TaskRouter") -> None:
        """Take over every handler of ``other``.

        Raises:
            ValueError: both have a handler for the same type.

        """
        for task_type, route in other._routes.items():  # noqa: SLF001  # its own class
            self._add(task_type, route)

    def fall_back_on(self, other: "TaskRouter") -> None:
        """Take over those handlers of ``other`` whose task types have none here."""
        self._routes = {**other._routes, **self._routes}  # noqa: SLF001  # its own class

    def _add(self, task_type: str, route: "_Route") -> None:
        known = self._routes.get(task_type)
        if known is not None:
            message = f"task type {task_type!r} has two handlers: {known.name} and {route.name}"
            raise ValueError(message)
        self._routes[task_type] = route

    def types(self) -> frozenset[str]:
        """Return the task types that have a handler."""
        return frozenset(self._routes)

    def payload_models(self) -> dict[str, type[BaseModel]]:
        """Return the payload model of each type that has one."""
        return {task_type: route.model for task_type, route in self._routes.items() if route.model is not None}

    def check(self, services: Mapping[type, object]) -> None:
        """Return if ``services`` holds what every handler asks for; to be called at start.

        Raises:
            ValueError: it does not; the message names each handler and parameter.

        """
        missing = [
            f"{route.name} needs {name}: {getattr(service, '__name__', service)}"
            for route in self._routes.values()
            for name, service in route.services()
            if service not in services
        ]
        if missing:
            message = f"no such service: {'; '.join(missing)}"
            raise ValueError(message)

    def is_sync(self, task_type: str) -> bool:
        """Whether the type's handler runs in a thread, so that cancelling ``run`` does not stop it."""
        route = self._routes.get(task_type)
        return route is not None and not route.is_async

    async def run(self, task: Task, services: Mapping[type, object]) -> JsonValue:
        """Call the task's handler and return its result.

        Cancelling this cancels an async handler at its next await. Of a sync one it only stops waiting: the thread
        runs on and its outcome is dropped. A caller that must know how it ends shields this call (``is_sync``).

        Raises:
            UnknownTaskTypeError: no handler knows the type.
            InvalidPayloadError: the payload does not fit the type's model; the message names the members.
            PermanentError: what the handler returned has no JSON form.
            RetryableError: the handler asked the process to end, as ``sys.exit`` does.
            Exception: whatever the handler raises.

        """
        return await self.handler(task.type, services).handle(task)

    def handler(self, task_type: str, services: Mapping[type, object]) -> TaskHandler:
        """Return the type's handler, bound to ``services``.

        Raises:
            UnknownTaskTypeError: there is none.

        """
        route = self._routes.get(task_type)
        if route is None:
            message = f"no handler knows the task type {task_type!r}"
            raise UnknownTaskTypeError(message)
        return _BoundHandler(route, services)


@dataclass(frozen=True, slots=True)
class _Route:
    function: Callable[..., Any]
    model: type[BaseModel] | None
    parameters: Sequence[tuple[str, Any]]

    @property
    def name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    def services(self) -> list[tuple[str, Any]]:
        return [(name, kind) for name, kind in self.parameters if kind is not Task and kind is not self.model]


@dataclass(frozen=True, slots=True)
class _BoundHandler:
    """A route that has what its function asks for."""

    route: _Route
    services: Mapping[type, object]

    async def handle(self, task: Task) -> JsonValue:
        model, own = self.route.model, _own(task)
        payload = None if model is None else _payload(model, own.payload)
        given = {Task: own, model: payload}
        arguments = {
            name: given[kind] if kind in given else self.services[kind] for name, kind in self.route.parameters
        }
        result = await _called(partial(self.route.function, **arguments), is_async=self.route.is_async)
        _require_json(task.type, result)
        return result  # type: ignore[no-any-return]  # what a handler returns was looked at just now


def _parameters(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    hints = get_type_hints(function)
    parameters = inspect.signature(function).parameters
    for name, parameter in parameters.items():
        if name not in hints or parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            message = f"parameter {name!r} of {function.__qualname__} needs a type, by which it is filled"
            raise ValueError(message)
    return [(name, hints[name]) for name in parameters]


def _payload(model: type[BaseModel], payload: JsonValue) -> BaseModel:
    try:
        return validated(model, payload, ("body", "payload"))
    except InvalidTaskError as error:
        raise InvalidPayloadError(str(error)) from error


def _require_json(task_type: str, result: object) -> None:
    try:
        dumps(result)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"the handler of {task_type!r} returned what is no JSON: {error}"
        raise PermanentError(message) from error


def _own(task: Task) -> Task:
    """Return ``task`` for a handler to do with as it likes: a retry and a dead letter are what was enqueued."""
    return replace(task, payload=deepcopy(task.payload), metadata=dict(task.metadata))


async def _called(call: Callable[[], Any], *, is_async: bool) -> Any:
    runner = asyncio.current_task()
    try:
        return await call() if is_async else await _in_thread(call)
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:  # beyond this, it would end the process and every other task in it
        if isinstance(error, GeneratorExit) and not _runs(runner):
            raise  # not the handler's: this coroutine is being closed
        raise RetryableError(describe(error)) from error


def _runs(task: "asyncio.Task[Any] | None") -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False


async def _in_thread(call: Callable[[], Any]) -> Any:
    """Return what ``call`` returns in a new thread.

    Not an executor's thread: the interpreter waits for those at exit, so that one stuck handler would keep the
    process from ending. The caller bounds their number: each holds a worker slot.
    """
    future: Future[_Outcome] = Future()
    run = partial(contextvars.copy_context().run, call)
    threading.Thread(target=_settle, args=(future, run), name="task-handler", daemon=True).start()
    outcome = await asyncio.wrap_future(future)
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a call in a thread ended. Its error is no exception of the future: asyncio's take no ``StopIteration``."""

    result: Any = None
    error: BaseException | None = None


def _settle(future: "Future[_Outcome]", call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        outcome = _Outcome(call())
    except BaseException as error:  # noqa: BLE001  # it is raised where the result is awaited
        outcome = _Outcome(error=error)
    future.set_result(outcome)
