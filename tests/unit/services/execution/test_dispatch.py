"""What executes a task."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mcp_queue.domain.callbacks.destinations import Target
from mcp_queue.domain.enqueueing.payloads import WebhookPayload
from mcp_queue.domain.errors import UnknownTaskTypeError
from mcp_queue.domain.execution.routing import Route
from mcp_queue.domain.task import Task
from mcp_queue.ports import CallbackRequest, CallbackResponse
from mcp_queue.services.execution.callbacks import CallbackTimeouts
from mcp_queue.services.execution.dispatch import TaskDispatcher
from mcp_queue.services.execution.router import TaskRouter

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class KeepingSender:
    """A ``CallbackSender`` that keeps requests and answers them with JSON."""

    def __init__(self) -> None:
        """Start empty."""
        self.requests: list[CallbackRequest] = []

    async def send(self, request: CallbackRequest) -> CallbackResponse:
        """Keep the request."""
        self.requests.append(request)
        return CallbackResponse(status=200, content_type="application/json", body=b'{"by": "callback"}')


def a_task(kind: str = "job", callback_url: str | None = None) -> Task:
    """Make a task."""
    return Task(id="t1", type=kind, queue="tasks", created_at=NOW, callback_url=callback_url)


@pytest.fixture
def sender() -> KeepingSender:
    """Return a sender that keeps what it is given."""
    return KeepingSender()


@pytest.fixture
def dispatcher(sender: KeepingSender) -> TaskDispatcher:
    """Return a dispatcher that knows a handler, a sync handler and a route."""
    router = TaskRouter()

    @router.task("job")
    async def job(task: Task) -> str:
        return f"handled {task.id}"

    @router.task("blocking")
    def blocking(task: Task) -> str:
        return f"handled {task.id}"

    @router.task("routed")
    async def routed(_task: Task) -> str:
        return "the route comes first"

    @router.task("hook", payload=WebhookPayload)
    async def hook(_payload: WebhookPayload) -> str:
        return "called"

    return TaskDispatcher(
        router=router,
        services={},
        routes=[
            Route(type="routed", callback_url="http://route/", headers={"X-Team": "a"}, secrets=("whsec_MTIz",)),
            Route(type="quick", callback_url="http://quick/", timeout=timedelta(seconds=2), name="fast"),
        ],
        sender=sender,
        timeouts=CallbackTimeouts({"tasks": timedelta(seconds=9)}),
    )


async def test_a_task_runs_in_the_handler_of_its_type(dispatcher: TaskDispatcher) -> None:
    """Without a callback the in-process handler executes the task."""
    assert await dispatcher.run(a_task(), "tasks", 1) == "handled t1"


async def test_a_route_comes_before_the_handler(dispatcher: TaskDispatcher, sender: KeepingSender) -> None:
    """The route of the type delivers, with its own headers and secrets."""
    result = await dispatcher.run(a_task("routed"), "tasks", 2)

    (request,) = sender.requests
    assert ({"by": "callback"}, "http://route/", "a") == (result, request.url, request.headers["X-Team"])
    assert (("whsec_MTIz",), timedelta(seconds=9), "2") == (
        request.secrets,
        request.timeout,
        request.headers["X-Task-Attempt"],
    )


async def test_a_tasks_own_callback_url_comes_before_the_route(
    dispatcher: TaskDispatcher, sender: KeepingSender
) -> None:
    """It gets neither the headers nor the secrets of the route: they belong to another receiver."""
    await dispatcher.run(a_task("routed", "http://own/"), "tasks", 1)

    (request,) = sender.requests
    assert ("http://own/", None) == (request.url, request.secrets)
    assert "X-Team" not in request.headers


async def test_a_route_may_have_its_own_timeout(dispatcher: TaskDispatcher, sender: KeepingSender) -> None:
    """It replaces the queue's."""
    await dispatcher.run(a_task("quick"), "tasks", 1)

    assert [timedelta(seconds=2)] == [request.timeout for request in sender.requests]


async def test_an_unknown_type_is_a_permanent_failure(dispatcher: TaskDispatcher) -> None:
    """Nothing executes it, now or later."""
    with pytest.raises(UnknownTaskTypeError, match="no handler and no route knows the task type 'other'"):
        await dispatcher.run(a_task("other"), "tasks", 1)


def test_only_sync_handlers_run_in_a_thread(dispatcher: TaskDispatcher) -> None:
    """Callbacks and async handlers can be cancelled."""
    in_thread = [dispatcher.in_thread(a_task(kind)) for kind in ("job", "blocking", "routed", "other")]

    assert [False, True, False, False] == in_thread
    assert not dispatcher.in_thread(a_task("blocking", "http://own/"))


def test_the_destination_is_whom_the_task_calls(dispatcher: TaskDispatcher) -> None:
    """A callback's, by the route's own name where it has one, or that of the request in a webhook's payload."""
    own, routed, named = a_task("quick", "http://own/"), a_task("routed"), a_task("quick")
    webhook = replace(a_task("hook"), payload={"url": "https://hooks.example.com/x"})
    silent = [a_task(), a_task("hook"), replace(a_task("hook"), payload={"url": 5})]

    assert [
        Target("http://own:80", "own"),
        Target("http://route:80", "route"),
        Target("fast", "quick"),
        Target("https://hooks.example.com:443", "hooks.example.com"),
    ] == [dispatcher.target(task) for task in (own, routed, named, webhook)]
    assert [None, None, None] == [dispatcher.target(task) for task in silent]
