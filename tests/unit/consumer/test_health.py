"""The consumer's own HTTP server."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from mcp_queue.consumer import health
from mcp_queue.consumer.health import ConsumerReadiness, HealthApp
from mcp_queue.domain.errors import BackendUnavailableError
from tests.support.consumer import ConsumerKit, make_kit, succeed
from tests.support.http.application import serving
from tests.support.tasks import standard


@pytest.fixture
def kit() -> ConsumerKit:
    """Return a consumer of two queues that does not run."""
    return make_kit(succeed, specs=[standard("a"), standard("b")])


@pytest.fixture
def readiness(kit: ConsumerKit) -> ConsumerReadiness:
    """Return the readiness of a consumer that has started."""
    return ConsumerReadiness(kit.pool.polled, list(kit.queues.values()), kit.clock, started=True)  # type: ignore[arg-type]  # the double has what checks call


@pytest.fixture
async def base(readiness: ConsumerReadiness) -> AsyncIterator[str]:
    """Return the address of a running server."""
    async with serving(HealthApp(readiness, lambda: (b"metric 1\n", "text/plain; version=0.0.4"))) as server:
        yield server.url


async def get(url: str) -> tuple[int, str]:
    """Return status and body."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def test_a_live_process_answers(base: str) -> None:
    """Liveness asks nothing but the process itself."""
    assert await get(f"{base}/healthz") == (200, '{"status": "ok"}')


async def test_nothing_else_is_served(base: str) -> None:
    """Other paths are not there, and nothing is changed from here."""
    assert (await get(f"{base}/other"))[0] == 404
    async with aiohttp.ClientSession() as session, session.post(f"{base}/healthz") as response:
        assert response.status == 405
    async with aiohttp.ClientSession() as session, session.head(f"{base}/healthz") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_metrics_are_served_as_rendered(base: str) -> None:
    """The text is the registry's."""
    assert await get(f"{base}/metrics") == (200, "metric 1\n")


async def test_a_consumer_whose_backends_answer_is_ready(base: str) -> None:
    """Every check is named."""
    status, body = await get(f"{base}/readyz")

    assert status == 200
    assert '"status": "ok"' in body
    assert '"queue:a": "ok"' in body


async def test_one_silent_backend_degrades_and_all_make_it_unready(kit: ConsumerKit, base: str) -> None:
    """One queue that answers is enough to work."""
    kit.queues["a"].faults["ping"] = [BackendUnavailableError(), BackendUnavailableError()]
    status, body = await get(f"{base}/readyz")
    assert (200, True) == (status, '"status": "degraded"' in body)

    kit.queues["b"].faults["ping"] = [BackendUnavailableError()]
    status, body = await get(f"{base}/readyz")
    assert (503, True) == (status, '"status": "unavailable"' in body)


async def test_a_ping_that_never_answers_counts_as_down(
    kit: ConsumerKit, readiness: ConsumerReadiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check has a time limit."""

    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(health, "CHECK_TIME", health.CHECK_TIME / 1000)
    monkeypatch.setattr(kit.queues["a"], "ping", hang)

    _, body = await readiness.check()

    assert body["checks"] == {"queue:a": "down", "queue:b": "ok"}


async def test_a_process_that_starts_or_drains_is_not_ready(readiness: ConsumerReadiness) -> None:
    """Nobody should wait for it."""
    readiness.started = False
    assert (await readiness.check())[0] is False
    readiness.started, readiness.draining = True, True
    ready, body = await readiness.check()

    assert not ready
    assert body["checks"]["process"] == "draining"  # type: ignore[index]  # checks is an object


async def test_a_ledger_that_is_down_only_degrades(readiness: ConsumerReadiness) -> None:
    """The ledger observes; work goes on without it."""
    readiness.ledger_ok = lambda: False

    ready, body = await readiness.check()

    assert ready
    assert body["status"] == "degraded"


async def test_receive_loops_without_progress_make_it_unready(kit: ConsumerKit, readiness: ConsumerReadiness) -> None:
    """A consumer that cannot receive is replaced; paused queues do not count."""
    kit.pool.polled[0].failures = 3
    ready, body = await readiness.check()
    assert ready
    assert body["checks"]["receive:a"] == "stuck"  # type: ignore[index]  # checks is an object
    kit.pool.polled[1].open_polls, kit.pool.polled[1].progress_at = 1, -100.0
    assert (await readiness.check())[0] is False
    kit.pool.polled[0].paused = kit.pool.polled[1].paused = True

    assert (await readiness.check())[0] is True
