"""Health, readiness, metrics and documents."""

import asyncio
from datetime import timedelta

import pytest

from mcp_queue.domain.errors import BackendUnavailableError, LedgerUnavailableError, OverloadedError
from mcp_queue.gateway.application import create_service_app
from mcp_queue.gateway.resources.service.readiness import GatewayReadiness
from tests.support.gateway import GatewayKit
from tests.support.http.application import call


async def answers() -> None:
    """Answer."""


async def fails() -> None:
    """Fail."""
    raise BackendUnavailableError


async def fails_as_ledger() -> None:
    """Fail."""
    raise LedgerUnavailableError


async def is_silent() -> None:
    """Never answer."""
    await asyncio.Event().wait()


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
    """With another one away the gateway serves what it can."""
    readiness = GatewayReadiness({"sqlite": answers, "sqs": fails}, {"ledger": answers})
    readiness.started = True
    report = await readiness.check()
    assert ("degraded", {"sqlite": "ok", "sqs": "unavailable", "ledger": "ok"}) == (report.status, report.checks)


async def test_other_dependencies_never_make_it_unready() -> None:
    """A ledger that is down is degraded service."""
    readiness = GatewayReadiness({"sqlite": answers}, {"ledger": fails_as_ledger})
    readiness.started = True
    assert "degraded" == (await readiness.check()).status


async def test_gateway_without_any_backend_is_not_ready() -> None:
    """What would only fail should not be sent here."""
    readiness = GatewayReadiness({"sqlite": fails, "sqs": fails}, {"ledger": answers})
    readiness.started = True
    with pytest.raises(BackendUnavailableError, match="sqlite, sqs"):
        await readiness.check()


async def test_silent_backend_counts_as_away() -> None:
    """Asking has a time limit."""
    readiness = GatewayReadiness({"sqlite": answers, "sqs": is_silent}, time_limit=timedelta(0))
    readiness.started = True
    assert {"sqlite": "ok", "sqs": "unavailable"} == (await readiness.check()).checks


async def test_readiness_says_whether_it_starts_or_drains() -> None:
    """Operators read the reason in the answer."""
    readiness = GatewayReadiness({"sqlite": answers})
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
