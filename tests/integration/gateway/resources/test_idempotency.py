"""Idempotency keys over HTTP: one task for a key, and the first answer again."""

import json
from typing import Any

import pytest

from mcp_queue.domain.errors import BackendUnavailableError
from tests.support.clock import HOUR, SECOND
from tests.support.gateway import GatewayKit
from tests.support.http.application import Answer, call
from tests.support.ledger import LedgerHarness
from tests.support.queues.doubles import SqsLike
from tests.support.tasks import task_ids

TASK = {"type": "echo", "payload": {"n": 1}}


@pytest.fixture
def far(harness: LedgerHarness) -> SqsLike:
    """Return a queue that can fail."""
    return SqsLike(harness.clock, "far", fifo=False)


@pytest.fixture
def orders(harness: LedgerHarness) -> SqsLike:
    """Return a FIFO queue that is as silent as SQS's."""
    return SqsLike(harness.clock, "ordered")


@pytest.fixture
def gateway(harness: LedgerHarness, far: SqsLike, orders: SqsLike) -> GatewayKit:
    """Return a gateway with the ledger."""
    return GatewayKit(harness=harness, max_depth=2, extra={"far": far, "ordered": orders})


async def post(gateway: GatewayKit, key: str | None = "k", queue: str = "tasks", **members: Any) -> Answer:
    """Put a task into a queue under a key."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return await call(gateway.app, "POST", f"/v1/queues/{queue}/tasks", json={**TASK, **members}, headers=headers)


async def batch(gateway: GatewayKit, *tasks: dict[str, Any], queue: str = "tasks") -> list[dict[str, Any]]:
    """Put a batch into a queue and return its results."""
    answer = await call(gateway.app, "POST", f"/v1/queues/{queue}/tasks/batch", json={"tasks": tasks})
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def test_second_request_gets_the_first_answer(gateway: GatewayKit) -> None:
    """Byte for byte, with a header that says so; the order of members is no difference."""
    first = await post(gateway)
    body = json.dumps(dict(reversed(TASK.items()))).encode()
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    second = await call(gateway.app, "POST", "/v1/queues/tasks/tasks", content=body, headers=headers)
    assert (202, first.body, "true") == (second.status, second.body, second.headers["idempotent-replayed"])
    assert first.headers["location"] == second.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert 1 == (await gateway.tasks.stats()).approximate_messages


async def test_another_body_under_the_same_key_is_a_mistake(gateway: GatewayKit) -> None:
    """The client has mixed up two requests."""
    await post(gateway)
    answer = await post(gateway, payload={"n": 2})
    assert (422, "idempotency_key_reused", False) == (
        answer.status, answer.json()["code"], answer.json()["retryable"],
    )  # fmt: skip


async def test_keys_belong_to_their_queue(gateway: GatewayKit) -> None:
    """The same key for another queue is another request."""
    first, second = await post(gateway), await post(gateway, queue="work")
    assert (202, 202) == (first.status, second.status)
    assert first.json()["id"] != second.json()["id"]


async def test_key_is_forgotten_after_a_day(harness: LedgerHarness, gateway: GatewayKit) -> None:
    """Then it may stand for something else."""
    await post(gateway)
    await harness.clock.advance(HOUR * 24)
    assert 202 == (await post(gateway, payload={"n": 2})).status


async def test_request_under_way_is_waited_for(harness: LedgerHarness, gateway: GatewayKit, far: SqsLike) -> None:
    """409 says when the claim ends; then the same task is sent again."""
    far.answers = [BackendUnavailableError()]
    assert 503 == (await post(gateway, queue="far")).status
    await harness.clock.advance(SECOND * 12)
    early = await post(gateway, queue="far")
    assert (409, "idempotency_in_progress", "18", True) == (
        early.status, early.json()["code"], early.headers["retry-after"], early.json()["retryable"],
    )  # fmt: skip
    await harness.clock.advance(SECOND * 18)
    late = await post(gateway, queue="far")
    assert (202, task_ids(far.sends)) == (late.status, [late.json()["id"]] * 2)


async def test_definite_refusal_frees_the_key(harness: LedgerHarness, gateway: GatewayKit) -> None:
    """What was refused may come again at once, also changed; only a 202 is remembered."""
    for key in ("a", "b"):
        await post(gateway, key)
    assert (429, 422) == ((await post(gateway, "k")).status, (await post(gateway, "k", priority=9)).status)
    await gateway.tasks.purge()
    answer = await post(gateway, "k", payload={"n": 2})
    assert (202, False) == (answer.status, "idempotent-replayed" in answer.headers)


async def test_ledger_that_is_down_refuses_keys_only(harness: LedgerHarness, gateway: GatewayKit) -> None:
    """A promise that cannot be kept is not made."""
    harness.ledger._database.set_away("the test says so")
    keyed, plain = await post(gateway), await post(gateway, None)
    assert (503, "1", 202) == (keyed.status, keyed.headers["retry-after"], plain.status)


async def test_each_task_of_a_batch_has_its_own_key(gateway: GatewayKit) -> None:
    """New, replayed, reused, and without one; the key is no part of what is compared."""
    single = await post(gateway, "one")
    results = await batch(
        gateway,
        {**TASK, "idempotency_key": "one"},
        {"type": "other", "idempotency_key": "one"},
        {**TASK, "idempotency_key": "two"},
        {"type": "bad type", "idempotency_key": "three"},
        TASK,
    )
    assert [202, 422, 202, 422, 429] == [result["status"] for result in results]
    assert single.json()["id"] == results[0]["id"]
    again = await batch(gateway, {**TASK, "idempotency_key": "two"}, {**TASK, "idempotency_key": "three"})
    assert (results[2]["id"], [202, 429]) == (again[0]["id"], [result["status"] for result in again])


async def test_task_of_a_batch_can_be_repeated_alone(gateway: GatewayKit) -> None:
    """What was answered in the batch is the task as a single request would have been answered."""
    (result,) = await batch(gateway, {**TASK, "idempotency_key": "k"})
    answer = await post(gateway)
    assert (202, result["id"], "true") == (
        answer.status, answer.json()["id"], answer.headers["idempotent-replayed"],
    )  # fmt: skip
    assert {"n": 1} == answer.json()["payload"]


async def test_replay_of_a_duplicate_leads_to_the_first_task(gateway: GatewayKit) -> None:
    """The key's own task never was: both answers name the one that the queue has."""
    first = await post(gateway, None, "ordered", deduplication_id="d")
    duplicate = await post(gateway, "k", "ordered", deduplication_id="d")
    replayed = await post(gateway, "k", "ordered", deduplication_id="d")
    (of_batch,) = await batch(gateway, {**TASK, "deduplication_id": "d", "idempotency_key": "k"}, queue="ordered")
    location = first.headers["location"]
    assert [location] * 2 == [answer.headers["location"] for answer in (duplicate, replayed)]
    assert duplicate.body == replayed.body
    assert (first.json()["id"], True) == (of_batch["id"], of_batch["deduplicated"])


async def test_delayed_fifo_task_is_held_and_deduplicated(gateway: GatewayKit, orders: SqsLike) -> None:
    """The ledger holds what SQS cannot, and knows its deduplication id."""
    held = await post(gateway, None, "ordered", deduplication_id="d", delay="1h")
    again = await post(gateway, None, "ordered", deduplication_id="d")
    assert (202, "scheduled", []) == (held.status, held.json()["status"], orders.sends)
    assert (202, held.json()["id"], True) == (again.status, again.json()["id"], again.json()["deduplicated"])
    found = await call(gateway.app, "GET", held.headers["location"])
    assert "scheduled" == found.json()["status"]


async def test_deduplication_id_under_way_is_waited_for(gateway: GatewayKit, orders: SqsLike) -> None:
    """It is not known yet whether the first is in the queue."""
    orders.answers = [BackendUnavailableError()]
    assert 503 == (await post(gateway, None, "ordered", deduplication_id="d")).status
    answer = await post(gateway, None, "ordered", deduplication_id="d")
    assert (409, "30") == (answer.status, answer.headers["retry-after"])
