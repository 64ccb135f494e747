"""``POST /v1/queues/{queue}/tasks``."""

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.support.clock import NOW
from tests.support.gateway import GatewayKit
from tests.support.http.application import JSON_TYPE, Answer, call

TASKS = "/v1/queues/tasks/tasks"
TASK_ID = "019b76da-a800-7000-8000-000000000001"


async def enqueue(kit: GatewayKit, task: object, queue: str = "tasks", **headers: str) -> Answer:
    """Post ``task``."""
    return await call(kit.app, "POST", f"/v1/queues/{queue}/tasks", json=task, headers=headers)


async def test_accepted_task_comes_back_whole(kit: GatewayKit) -> None:
    """The answer shows the task with every default filled in, durations in seconds and times in UTC."""
    answer = await enqueue(kit, {"type": "echo", "payload": {"n": 1}})
    expected = {
        "id": TASK_ID,
        "queue": "tasks",
        "type": "echo",
        "priority": 0,
        "status": "queued",
        "metadata": {},
        "created_at": "2026-01-01T00:00:00.000000Z",
        "scheduled_for": None,
        "expires_at": None,
        "max_retries": 3,
        "retry_count": 0,
        "visibility_timeout": 300,
        "callback_url": None,
        "group": None,
        "payload": {"n": 1},
    }
    assert (202, expected) == (answer.status, answer.json())
    assert list(expected) == list(answer.json())
    assert f"/v1/tasks/{TASK_ID}" == answer.headers["location"]
    assert "application/json" == answer.headers["content-type"]


async def test_accepted_task_lies_in_the_queue(kit: GatewayKit) -> None:
    """A consumer receives what the client sent, with the trace it belongs to."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    task = {
        "type": "order.paid",
        "payload": [1, "ä", None],
        "priority": 2,
        "metadata": {"source": "shop"},
        "expires_at": "2026-01-02T01:00:00+01:00",
        "max_retries": 7,
        "visibility_timeout": "1m30s",
        "callback_url": "https://example.com/hook",
        "group": "tenant-1",
    }
    await enqueue(kit, task, traceparent=trace)
    (delivery,) = await kit.tasks.receive(1, NOW)
    received = delivery.task
    assert received is not None
    assert (TASK_ID, "order.paid", [1, "ä", None], 2) == (
        received.id,
        received.type,
        received.payload,
        received.priority,
    )
    assert ({"source": "shop"}, 7, "tenant-1") == (received.metadata, received.max_retries, received.group)
    assert timedelta(seconds=90) == received.visibility_timeout
    assert "https://example.com/hook" == received.callback_url
    assert kit.clock.now() + timedelta(days=1) == received.expires_at
    assert trace == received.traceparent


@pytest.mark.parametrize("trace", ["00-0-0-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
async def test_invalid_trace_context_is_dropped(kit: GatewayKit, trace: str) -> None:
    """A header that is no trace context does not travel with the task."""
    await enqueue(kit, {"type": "echo"}, traceparent=trace)
    (delivery,) = await kit.tasks.receive(1, NOW)
    assert delivery.task is not None
    assert delivery.task.traceparent is None


@pytest.mark.parametrize("member", [{"delay": "5m"}, {"delay": 300}, {"scheduled_for": "2026-01-01T00:05:00Z"}])
async def test_delayed_task_is_scheduled(kit: GatewayKit, member: dict[str, Any]) -> None:
    """A delay in either form is answered as the time the task is due."""
    answer = (await enqueue(kit, {"type": "echo", **member})).json()
    assert ("scheduled", "2026-01-01T00:05:00.000000Z") == (answer["status"], answer["scheduled_for"])
    assert [] == await kit.tasks.receive(1, NOW)


async def test_deduplicated_task_answers_with_the_first_id(kit: GatewayKit) -> None:
    """A FIFO queue that had the deduplication id before says so, and whose task it keeps."""
    first = await enqueue(kit, {"type": "echo", "deduplication_id": "d"}, "orders")
    second = await enqueue(kit, {"type": "echo", "deduplication_id": "d"}, "orders")
    assert "deduplicated" not in first.json()
    assert (202, first.json()["id"], True) == (second.status, second.json()["id"], second.json()["deduplicated"])
    assert f"/v1/tasks/{first.json()['id']}" == second.headers["location"]


async def test_wrong_payload_is_refused_naming_the_member(kit: GatewayKit) -> None:
    """The payload of a type that has a model is checked against it."""
    answer = await enqueue(kit, {"type": "embedding", "payload": {"model": "m"}})
    assert (422, "invalid_task", "payload.text: Field required") == (
        answer.status,
        answer.json()["code"],
        answer.json()["detail"],
    )
    assert [{"loc": ["body", "payload", "text"], "msg": "Field required"}] == answer.json()["errors"]


async def test_payload_of_an_unknown_type_is_free(kit: GatewayKit) -> None:
    """Any JSON is a payload where no model is registered."""
    assert 202 == (await enqueue(kit, {"type": "mine", "payload": "anything"})).status


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"type": "echo", "type": "echo"}', "stands twice"),
        (b'{"type": "echo", "payload": NaN}', "NaN is not JSON"),
        (b'{"type": "echo", "payload": 1e999}', "beyond a double"),
        (b'{"type": "echo", "payload": "\\ud800"}', "lone surrogate"),
        (b'{"type": "echo", "payload": "\xff"}', "not UTF-8"),
        (b'{"type": "echo", "payload": ' + b"[" * 101 + b"]" * 101 + b"}", "nested over 100 levels"),
        (b"[" * 100_000, "nested over 100 levels"),
    ],
)
async def test_malformed_json_is_refused(kit: GatewayKit, body: bytes, detail: str) -> None:
    """What systems read differently, or not at all, is no task."""
    answer = await call(kit.app, "POST", TASKS, content=body, headers=JSON_TYPE)
    assert (400, "malformed_json") == (answer.status, answer.json()["code"])
    assert detail in answer.json()["detail"]


@pytest.mark.parametrize("task", [[], "echo", None, 1, {}, {"type": "echo", "prioritty": 1}, {"type": "echo echo"}])
async def test_what_is_no_task_is_refused(kit: GatewayKit, task: object) -> None:
    """The body has to be an object with known members only."""
    answer = await enqueue(kit, task)
    assert (422, "invalid_task") == (answer.status, answer.json()["code"])


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/x-ndjson",
        "",
    ],
)
async def test_other_media_types_are_refused(kit: GatewayKit, media_type: str) -> None:
    """A single task is JSON in UTF-8, and says so."""
    answer = await call(kit.app, "POST", TASKS, content=b'{"type": "echo"}', headers={"Content-Type": media_type})
    assert (415, "unsupported_media_type") == (answer.status, answer.json()["code"])


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'])
async def test_json_may_name_its_charset(kit: GatewayKit, media_type: str) -> None:
    """UTF-8 may be said in every way that HTTP allows."""
    answer = await call(kit.app, "POST", TASKS, content=b'{"type": "echo"}', headers={"Content-Type": media_type})
    assert 202 == answer.status


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_encoded_bodies_are_refused(kit: GatewayKit, encoding: str) -> None:
    """No Content-Encoding is undone, so that no small request becomes a large one."""
    answer = await enqueue(kit, {"type": "echo"}, **{"Content-Encoding": encoding})
    assert (415, "unsupported_media_type") == (answer.status, answer.json()["code"])


async def test_idempotency_key_needs_the_ledger(kit: GatewayKit) -> None:
    """Without a ledger a key is refused, since ignoring it would break a promise."""
    answer = await enqueue(kit, {"type": "echo"}, **{"Idempotency-Key": "k-1"})
    assert (501, "ledger_disabled") == (answer.status, answer.json()["code"])


@pytest.mark.parametrize("key", ["", "with space", "ä", "x" * 256])
async def test_idempotency_key_is_visible_ascii(kit: GatewayKit, key: str) -> None:
    """A key has 1 to 255 visible ASCII characters."""
    answer = await enqueue(kit, {"type": "echo"}, **{"Idempotency-Key": key})
    assert (422, "invalid_task") == (answer.status, answer.json()["code"])
    assert ["header", "Idempotency-Key"] == answer.json()["errors"][0]["loc"]


async def test_idempotency_key_is_given_once(kit: GatewayKit) -> None:
    """The gateway cannot know which of two keys the client means."""
    answer = await enqueue(kit, {"type": "echo"}, **{"Idempotency-Key": "k-1", "idempotency-key": "k-2"})
    assert (422, "given more than once") == (answer.status, answer.json()["errors"][0]["msg"])


async def test_full_queue_asks_to_come_back() -> None:
    """A queue at its maximum depth answers 429 with Retry-After."""
    kit = GatewayKit(max_depth=1)
    await enqueue(kit, {"type": "echo"})
    answer = await enqueue(kit, {"type": "echo"})
    assert (429, "queue_full", True, "1") == (
        answer.status,
        answer.json()["code"],
        answer.json()["retryable"],
        answer.headers["retry-after"],
    )


async def test_task_over_the_limit_of_its_queue_is_refused() -> None:
    """The queue's own limit counts the task as it is stored."""
    answer = await enqueue(GatewayKit(max_task_bytes=10_000), {"type": "echo", "payload": "x" * 10_000})
    assert (413, "task_too_large") == (answer.status, answer.json()["code"])


async def test_unknown_queue_is_not_found(kit: GatewayKit) -> None:
    """A queue that is not configured answers 404 naming it, cut where the name is endless."""
    answer = await enqueue(kit, {"type": "echo"}, "n" * 5000)
    assert (404, "queue_not_found") == (answer.status, answer.json()["code"])
    assert 200 > len(answer.json()["detail"])


@pytest.mark.parametrize("level", ["work-p0", "work-p3"])
async def test_levels_are_not_found_by_name(kit: GatewayKit, level: str) -> None:
    """The levels of a priority queue are reached through it alone."""
    assert 404 == (await enqueue(kit, {"type": "echo"}, level)).status


async def test_priority_queue_takes_tasks_under_its_own_name(kit: GatewayKit) -> None:
    """A task lands in the level of its priority, and says the queue's name."""
    answer = await enqueue(kit, {"type": "echo", "priority": 3}, "work")
    assert (202, "work") == (answer.status, answer.json()["queue"])
    assert 1 == (await kit.levels[3].stats()).approximate_messages


async def test_dead_letter_queue_takes_no_tasks(kit: GatewayKit) -> None:
    """Clients cannot forge dead letters."""
    answer = await enqueue(kit, {"type": "echo"}, "dlq")
    assert (404, "not_found") == (answer.status, answer.json()["code"])
    assert "dead letters" in answer.json()["detail"]


async def test_unknown_query_parameter_is_refused(kit: GatewayKit) -> None:
    """A misspelt option never passes silently."""
    answer = await call(kit.app, "POST", f"{TASKS}?delay=5", json={"type": "echo"})
    assert (422, ["query", "delay"]) == (answer.status, answer.json()["errors"][0]["loc"])


async def test_answer_is_ascii(kit: GatewayKit) -> None:
    """Answers are read correctly by clients that guess another charset."""
    answer = await enqueue(kit, {"type": "mine", "payload": "ä€😀"})
    assert "ä€😀" == json.loads(answer.body.decode("ascii"))["payload"]
