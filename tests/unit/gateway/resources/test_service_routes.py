"""Health, readiness, metrics and documents."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest

from mcp_queue.domain.errors import (
    BackendRefusedError,
    BackendUnavailableError,
    LedgerUnavailableError,
    OverloadedError,
)
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend
from mcp_queue.gateway.application import create_service_app
from mcp_queue.gateway.resources.service.readiness import GatewayReadiness, Ping
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.clock import START
from tests.support.gateway import GatewayKit
from tests.support.http.application import call
from tests.support.tasks import make_spec


async def answers() -> None:
    """Answer."""


async def fails() -> None:
    """Fail."""
    raise BackendUnavailableError


async def refuses() -> None:
    """Answer that this queue cannot be used."""
    raise BackendRefusedError


async def fails_as_ledger() -> None:
    """Fail."""
    raise LedgerUnavailableError


async def is_silent() -> None:
    """Never answer."""
    await asyncio.Event().wait()


class Pinged(InMemoryQueue):
    """A queue whose backend behaves as told, and counts how often it is asked."""

    def __init__(self, backend: Backend, behaviour: Ping) -> None:
        """Be on ``backend``."""
        super().__init__(make_spec(backend=backend), clock=FakeClock(START), serializer=JsonTaskSerializer())
        self.behaviour = behaviour
        self.asked = 0

    async def ping(self) -> None:
        """Behave."""
        self.asked += 1
        await self.behaviour()


def sqs(behaviour: Ping) -> Pinged:
    """Return a queue at SQS."""
    return Pinged(Backend.SQS, behaviour)


def embedded(behaviour: Ping) -> Pinged:
    """Return a queue in the file."""
    return Pinged(Backend.SQLITE, behaviour)


def readiness_of(
    queues: Mapping[str, Pinged], ledger: Ping | None = None, *, clock: FakeClock | None = None, seconds: float = 60
) -> GatewayReadiness:
    """Return the readiness of a gateway that has started."""
    readiness = GatewayReadiness(
        queues,
        {} if ledger is None else {"ledger": ledger},
        clock=clock or FakeClock(START),
        time_limit=timedelta(seconds=seconds),
    )
    readiness.started = True
    return readiness


async def test_running_process_is_healthy(kit: GatewayKit) -> None:
    """Health says that the process is up, also while it is not ready."""
    kit.readiness.draining = True
    answer = await call(kit.app, "GET", "/healthz")
    assert (200, {"status": "ok"}) == (answer.status, answer.json())


async def test_head_answers_like_get(kit: GatewayKit) -> None:
    """Probes may ask with HEAD."""
    assert 200 == (await call(kit.app, "HEAD", "/healthz")).status


async def test_gateway_is_ready_when_everything_answers(kit: GatewayKit) -> None:
    """Each backend is asked once, whatever the number of its queues."""
    answer = await call(kit.app, "GET", "/readyz")
    assert (200, {"status": "ok", "checks": {"memory": "ok"}}) == (answer.status, answer.json())


@pytest.mark.parametrize(("member", "value"), [("started", False), ("draining", True)])
async def test_starting_or_draining_gateway_is_not_ready(kit: GatewayKit, member: str, value: object) -> None:
    """Before it can serve, and once it should get no more requests, the gateway says so."""
    setattr(kit.readiness, member, value)
    answer = await call(kit.app, "GET", "/readyz")
    assert (503, "overloaded", "1") == (answer.status, answer.json()["code"], answer.headers["retry-after"])


async def test_one_backend_that_answers_is_enough() -> None:
    """With another one away the gateway serves what it can, and says what it cannot."""
    report = await readiness_of({"here": embedded(answers), "there": sqs(fails)}, answers).check()
    assert ("degraded", ("there",)) == (report.status, report.degraded)
    assert {"sqlite": "ok", "sqs": "unavailable", "ledger": "ok"} == report.checks


async def test_one_queue_that_answers_is_enough() -> None:
    """Whichever it is: what another one lacks must not take the gateway away from it."""
    for order in (("good", "bad"), ("bad", "good")):
        queues = {name: sqs(answers if name == "good" else fails) for name in order}
        report = await readiness_of(queues).check()
        assert ({"sqs": "ok"}, ("bad",)) == (report.checks, report.degraded)


async def test_refusal_is_an_answer() -> None:
    """Where SQS says that a queue does not exist, SQS works."""
    report = await readiness_of({"gone": sqs(refuses), "silent": sqs(fails)}).check()
    assert ({"sqs": "ok"}, ("gone", "silent")) == (report.checks, report.degraded)


async def test_dead_letter_queues_are_not_asked(kit: GatewayKit) -> None:
    """Nobody puts tasks into them."""
    assert {"tasks", "orders", "work-p0", "work-p3"} == kit.manager.task_queues().keys()


async def test_other_dependencies_never_make_it_unready() -> None:
    """A ledger that is down is degraded service."""
    report = await readiness_of({"here": embedded(answers)}, fails_as_ledger).check()
    assert ("degraded", ("ledger",)) == (report.status, report.degraded)


async def test_gateway_without_any_backend_is_not_ready() -> None:
    """What would only fail should not be sent here."""
    readiness = readiness_of({"here": embedded(fails), "there": sqs(fails)}, answers)
    with pytest.raises(BackendUnavailableError, match="sqlite, sqs"):
        await readiness.check()


async def test_silent_backend_counts_as_away() -> None:
    """Asking has a time limit."""
    readiness = readiness_of({"here": embedded(answers), "there": sqs(is_silent)}, seconds=0.01)
    assert {"sqlite": "ok", "sqs": "unavailable"} == (await readiness.check()).checks


async def test_answers_count_for_ten_seconds() -> None:
    """Several load balancers that probe every second cost no more than one."""
    clock, queue = FakeClock(START), sqs(answers)
    readiness = readiness_of({"there": queue}, clock=clock)
    await asyncio.gather(*(readiness.check() for _ in range(5)))
    assert 1 == queue.asked
    queue.behaviour = fails
    await clock.advance(timedelta(seconds=9))
    await readiness.check()
    await clock.advance(timedelta(seconds=1))
    with pytest.raises(BackendUnavailableError):
        await readiness.check()
    assert 2 == queue.asked


async def test_readiness_says_whether_it_starts_or_drains() -> None:
    """Operators read the reason in the answer."""
    readiness = readiness_of({"here": embedded(answers)})
    readiness.started = False
    with pytest.raises(OverloadedError, match="starting"):
        await readiness.check()
    readiness.draining = True
    with pytest.raises(OverloadedError, match="shutting down"):
        await readiness.check()


async def test_metrics_count_requests_by_route(kit: GatewayKit) -> None:
    """Labels are routes, methods and classes of status, never what clients send."""
    await call(kit.app, "POST", "/v1/queues/tasks/tasks", json={"type": "embedding", "payload": {}})
    await call(kit.app, "POST", "/v1/queues/nope/tasks", json={"type": "a"})
    await call(kit.app, "HEAD", "/healthz")
    await call(kit.app, "GET", "/v1/nothing/here")
    page = (await call(kit.app, "GET", "/metrics")).body.decode()
    count = "http_request_duration_seconds_count"
    route = "/v1/queues/{queue}/tasks"
    assert 2 == kit.registry.get_sample_value(count, {"handler": route, "method": "POST", "status": "4xx"})
    assert 1 == kit.registry.get_sample_value(count, {"handler": "/healthz", "method": "GET", "status": "2xx"})
    assert 1 == kit.registry.get_sample_value(count, {"handler": "none", "method": "GET", "status": "4xx"})
    assert route in page
    assert "nothing" not in page


async def test_metrics_count_the_requests_of_both_ports(kit: GatewayKit) -> None:
    """Health and metrics may have a port of their own; which port is asked first does not matter."""
    await call(create_service_app(kit.dependencies()), "GET", "/healthz")
    await call(kit.app, "GET", "/v1/queues")
    count = "http_request_duration_seconds_count"
    for route in ("/healthz", "/v1/queues"):
        assert 1 == kit.registry.get_sample_value(count, {"handler": route, "method": "GET", "status": "2xx"})


async def test_metrics_count_enqueued_tasks(kit: GatewayKit) -> None:
    """Tasks that a queue took are counted by queue and type; unknown types are counted together."""
    for name in ("embedding", "anything"):
        task = {"type": name, "payload": {"text": "t", "model": "m"}}
        await call(kit.app, "POST", "/v1/queues/tasks/tasks", json=task)
    answer = await call(kit.app, "GET", "/metrics")
    metric = "mcp_queue_tasks_enqueued_total"
    assert 1 == kit.registry.get_sample_value(metric, {"queue": "tasks", "task_type": "embedding"})
    assert 1 == kit.registry.get_sample_value(metric, {"queue": "tasks", "task_type": "other"})
    assert metric in answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain; version=")


async def test_docs_show_the_openapi_document(kit: GatewayKit) -> None:
    """Swagger UI asks for the document beside it, so that both work behind a prefix."""
    docs = await call(kit.app, "GET", "/docs")
    document = await call(kit.app, "GET", "/openapi.json")
    assert (200, "text/html; charset=utf-8") == (docs.status, docs.headers["content-type"])
    assert b"'openapi.json'" in docs.body
    assert ("3.1.0", "1.2.3") == (document.json()["openapi"], document.json()["info"]["version"])
