"""How a task finds its handler and how the handler gets what it asks for."""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from mcp_queue.domain.enqueueing.payloads import EmbeddingPayload
from mcp_queue.domain.errors import InvalidPayloadError, PermanentError, RetryableError, UnknownTaskTypeError
from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.services.execution.router import TaskRouter, _settle
from mcp_queue.services.log_context import current_log_fields, log_fields


class Greeter:
    """A service."""

    def greet(self, name: str) -> str:
        """Return a greeting."""
        return f"hello {name}"


class Name(BaseModel):
    """A payload."""

    name: str


NO_SERVICES: Mapping[type, object] = {}


def a_task(task_type: str = "greet", payload: JsonValue = None) -> Task:
    """Return a task."""
    return Task(id="1", type=task_type, queue="tasks", created_at=datetime(2026, 1, 1, tzinfo=UTC), payload=payload)


async def test_a_handler_gets_task_payload_and_services_by_their_types() -> None:
    """The order and the names of its parameters are its own business."""
    router = TaskRouter()

    @router.task("greet", payload=Name)
    async def greet(greeter: Greeter, payload: Name, *, task: Task) -> JsonValue:
        return {"text": greeter.greet(payload.name), "id": task.id}

    expected = {"text": "hello Ada", "id": "1"}
    assert expected == await router.run(a_task(payload={"name": "Ada"}), {Greeter: Greeter()})


async def test_a_sync_handler_runs_in_another_thread() -> None:
    """It must not hold up the loop."""
    router = TaskRouter()

    @router.task("greet")
    def greet() -> JsonValue:
        return threading.current_thread() is threading.main_thread()

    assert router.is_sync("greet")
    assert await router.run(a_task(), NO_SERVICES) is False


async def test_a_sync_handler_logs_with_the_fields_of_its_task() -> None:
    """A thread sees the context it was started from."""
    router = TaskRouter()

    @router.task("greet")
    def greet() -> JsonValue:
        return str(current_log_fields()["task_id"])

    with log_fields(task_id="7"):
        assert await router.run(a_task(), NO_SERVICES) == "7"


async def test_cancelling_a_sync_handler_stops_only_the_waiting() -> None:
    """A thread cannot be stopped; its late outcome bothers nobody."""
    router, started, finish, finished = TaskRouter(), threading.Event(), threading.Event(), threading.Event()

    @router.task("greet")
    def greet() -> JsonValue:
        started.set()
        finish.wait()
        finished.set()
        return None

    running = asyncio.ensure_future(router.run(a_task(), NO_SERVICES))
    await asyncio.to_thread(started.wait)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not finished.is_set()
    finish.set()
    assert await asyncio.to_thread(finished.wait, 10)


def test_a_call_that_was_given_up_before_its_thread_ran_does_not_start() -> None:
    """The thread finds that nobody waits any more."""
    given_up: Future[Any] = Future()
    given_up.cancel()

    _settle(given_up, lambda: pytest.fail("started"))

    assert given_up.cancelled()


async def test_a_handlers_own_error_comes_out_unchanged() -> None:
    """From a coroutine and from a thread."""
    router = TaskRouter()

    @router.task("async")
    async def fail() -> JsonValue:
        raise LookupError("gone")

    @router.task("sync")
    def fail_too() -> JsonValue:
        raise LookupError("gone")

    for task_type in ("async", "sync"):
        with pytest.raises(LookupError, match="gone"):
            await router.run(a_task(task_type), NO_SERVICES)


class Panic(BaseException):
    """What no handler should raise, and some library will."""


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(3), GeneratorExit(3), Panic(3)], ids=lambda error: type(error).__name__
)
async def test_a_handler_cannot_end_the_process(error: BaseException) -> None:
    """Whatever its function raises is a failure of that attempt, in a task of the loop's own too."""
    router = TaskRouter()

    @router.task("async")
    async def leave() -> JsonValue:
        raise error

    @router.task("sync")
    def leave_too() -> JsonValue:
        raise error

    for task_type in ("async", "sync"):
        with pytest.raises(RetryableError, match=f"{type(error).__name__}: 3"):
            await asyncio.create_task(router.run(a_task(task_type), NO_SERVICES))


async def test_a_sync_handler_may_run_out_of_something_to_iterate() -> None:
    """``StopIteration``, which no future of asyncio takes, comes out as from a coroutine."""
    router = TaskRouter()

    @router.task("greet")
    def take_from_nothing() -> JsonValue:
        return next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await router.run(a_task(), NO_SERVICES)


async def test_what_a_handler_does_to_its_task_stays_with_it() -> None:
    """A retry of the task is the one that was enqueued."""
    router = TaskRouter()

    @router.task("greet")
    async def use_up(task: Task) -> JsonValue:
        assert isinstance(task.payload, dict)
        return task.payload.pop("name")

    task = a_task(payload={"name": "Ada"})
    assert "Ada" == await router.run(task, NO_SERVICES)
    assert a_task(payload={"name": "Ada"}) == task


async def test_an_unknown_type_is_a_permanent_failure() -> None:
    """No further attempt would find a handler either."""
    with pytest.raises(UnknownTaskTypeError, match="no handler knows the task type 'greet'"):
        await TaskRouter().run(a_task(), NO_SERVICES)
    assert not TaskRouter().is_sync("greet")


async def test_an_invalid_payload_is_a_permanent_failure_that_names_the_member() -> None:
    """The gateway checks it too, but not what came around it."""
    router = TaskRouter()

    @router.task("embedding", payload=EmbeddingPayload)
    async def embed(payload: EmbeddingPayload) -> JsonValue:
        return payload.text

    with pytest.raises(InvalidPayloadError, match=r"payload\.text: Field required"):
        await router.run(a_task("embedding", {"model": "small"}), NO_SERVICES)


@pytest.mark.parametrize("result", [object(), {1, 2}, float("nan"), b"bytes", datetime(2026, 1, 1, tzinfo=UTC)])
async def test_a_result_that_is_no_json_is_a_permanent_failure(result: JsonValue) -> None:
    """The handler's code is wrong; it ran, and running it again would not help."""
    router = TaskRouter()

    @router.task("greet")
    async def greet() -> JsonValue:
        return result

    with pytest.raises(PermanentError, match="the handler of 'greet' returned what is no JSON"):
        await router.run(a_task(), NO_SERVICES)


async def test_a_result_without_end_is_a_permanent_failure() -> None:
    """Nesting beyond what the writer takes must not stop the consumer."""
    router, nested = TaskRouter(), list[JsonValue]()
    innermost = nested
    for _ in range(100_000):
        deeper: list[JsonValue] = []
        innermost.append(deeper)
        innermost = deeper

    @router.task("greet")
    async def greet() -> JsonValue:
        return nested

    with pytest.raises(PermanentError, match="no JSON"):
        await router.run(a_task(), NO_SERVICES)


def test_a_missing_service_is_found_at_the_start() -> None:
    """Not by the first task; and every one is named at once."""
    router = TaskRouter()

    @router.task("greet", payload=Name)
    async def greet(task: Task, payload: Name, greeter: Greeter, other: EmbeddingPayload) -> JsonValue:
        return None

    router.check({Greeter: Greeter(), EmbeddingPayload: object()})
    with pytest.raises(ValueError, match=r"greet needs greeter: Greeter; .*greet needs other: EmbeddingPayload"):
        router.check(NO_SERVICES)


def test_a_parameter_without_a_type_is_refused_at_once() -> None:
    """There would be nothing to fill it by."""
    router = TaskRouter()

    def untyped(task) -> None:  # type: ignore[no-untyped-def]  # that is the point  # noqa: ANN001
        pass

    def variadic(*tasks: Task) -> None:
        pass

    with pytest.raises(ValueError, match=r"parameter 'task' of .*untyped needs a type"):
        router.task("greet")(untyped)
    with pytest.raises(ValueError, match=r"parameter 'tasks' of .*variadic needs a type"):
        router.task("greet")(variadic)
    assert frozenset() == router.types()


def test_merged_routers_know_the_types_of_both() -> None:
    """A project's handlers join those that come with the product."""
    one, two = TaskRouter(), TaskRouter()

    @one.task("greet", payload=Name)
    async def greet(payload: Name) -> JsonValue:
        return None

    @two.task("other")
    def other() -> None:
        pass

    one.merge(two)

    assert frozenset({"greet", "other"}) == one.types()
    assert {"greet": Name} == one.payload_models()
    assert (False, True) == (one.is_sync("greet"), one.is_sync("other"))


def test_a_type_cannot_have_two_handlers() -> None:
    """Which one ran would depend on the order of imports."""
    one, two = TaskRouter(), TaskRouter()

    @one.task("greet")
    async def hello() -> JsonValue:
        return None

    @two.task("greet")
    async def good_day() -> JsonValue:
        return None

    with pytest.raises(ValueError, match=r"'greet' has two handlers: .*hello and .*good_day"):
        one.merge(two)
