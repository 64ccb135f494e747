"""Chooses what executes a task: its own callback URL, the route of its type, or a handler of this process."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from mcp_queue.domain.callbacks.destinations import Target, target_of
from mcp_queue.domain.enqueueing.payloads import WebhookPayload
from mcp_queue.domain.errors import UnknownTaskTypeError
from mcp_queue.domain.execution.routing import Route
from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.ports import CallbackSender
from mcp_queue.services.execution.callbacks import CallbackTimeouts, callback_request, callback_result
from mcp_queue.services.execution.router import TaskRouter
from mcp_queue.services.log_context import log_fields


class TaskDispatcher:
    """Runs tasks: by their own ``callback_url``, else by the route of their type, else by their handler.

    ``services`` are what handlers may ask for; ``timeouts`` limit calls whose route names none.
    """

    def __init__(
        self,
        *,
        router: TaskRouter,
        services: Mapping[type, object],
        routes: Sequence[Route],
        sender: CallbackSender,
        timeouts: CallbackTimeouts,
    ) -> None:
        self._router = router
        self._services = services
        self._routes = {route.type: route for route in routes}
        self._webhooks = {name for name, model in router.payload_models().items() if issubclass(model, WebhookPayload)}
        self._sender = sender
        self._timeouts = timeouts

    async def run(self, task: Task, queue: str, attempt: int) -> JsonValue:
        """Return the task's result.

        Raises:
            UnknownTaskTypeError: nothing executes tasks of this type.
            Exception: what the attempt failed with.

        """
        with log_fields(task_id=task.id, task_type=task.type, queue=queue, attempt=attempt):
            route = self._route(task)
            if route is not None:
                return await self._call(task, route, queue, attempt)
            if task.type not in self._router.types():
                message = f"no handler and no route knows the task type {task.type!r}"
                raise UnknownTaskTypeError(message)
            return await self._router.run(task, self._services)

    def in_process(self, task: Task) -> bool:
        """Whether a handler of this process executes the task, which may end the process."""
        return self._route(task) is None

    def in_thread(self, task: Task) -> bool:
        """Whether the task's handler runs in a thread, which cancelling does not stop."""
        return self._route(task) is None and self._router.is_sync(task.type)

    def target(self, task: Task) -> Target | None:
        """Return the destination of the task's callback, or of the request that its payload describes."""
        route = self._route(task)
        if route is not None:
            return target_of(route.callback_url, route.name)
        url = task.payload.get("url") if task.type in self._webhooks and isinstance(task.payload, dict) else None
        return target_of(url) if isinstance(url, str) else None

    def _route(self, task: Task) -> Route | None:
        if task.callback_url is not None:
            return Route(type=task.type, callback_url=task.callback_url)
        return self._routes.get(task.type)

    async def _call(self, task: Task, route: Route, queue: str, attempt: int) -> JsonValue:
        request = callback_request(
            task,
            route.callback_url,
            attempt=attempt,
            timeout=self._timeout(route, queue),
            headers=route.headers,
            secrets=route.secrets,
        )
        return callback_result(await self._sender.send(request))

    def _timeout(self, route: Route, queue: str) -> timedelta:
        return route.timeout or self._timeouts.of(queue)
