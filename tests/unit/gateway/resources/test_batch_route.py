"""``POST /v1/queues/{queue}/tasks/batch``."""

import json
from collections.abc import Sequence

import pytest

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import BackendUnavailableError, QueueError, QueueSetupError
from mcp_queue.domain.task import Task
from mcp_queue.testing import InMemoryQueue
from tests.support.clock import NOW
from tests.support.gateway import TRACE_ID, GatewayKit
from tests.support.http.application import JSON_TYPE, Answer, call
from tests.support.tasks import make_spec

BATCH = "/v1/queues/tasks/tasks/batch"
NDJSON_TYPE = {"Content-Type": "application/x-ndjson"}


async def lines(kit: GatewayKit, content: bytes) -> Answer:
    """Post ``content`` as NDJSON."""
    return await call(kit.app, "POST", BATCH, content=content, headers=NDJSON_TYPE)


async def test_accepted_batch_answers_each_task_in_order(kit: GatewayKit) -> None:
    """Where every task was accepted the answer is 202, with the id of each."""
    answer = await call(kit.app, "POST", BATCH, json={"tasks": [{"type": "a"}, {"type": "b"}]})
    results = answer.json()["results"]
    assert (202, 2, 0) == (answer.status, answer.json()["accepted"], answer.json()["failed"])
    assert [(0, 202), (1, 202)] == [(result["index"], result["status"]) for result in results]
    received = [delivery.task for delivery in await kit.tasks.receive(2, NOW)]
    assert [result["id"] for result in results] == [task.id for task in received if task]


async def test_invalid_task_does_not_hold_back_the_others(kit: GatewayKit) -> None:
    """Where some tasks were refused the answer is 207, and the others are in the queue."""
    tasks = [{"type": "a"}, {"type": "embedding", "payload": {}}, 5, {"type": "b", "delay": "10000d"}, {"type": "c"}]
    answer = await call(kit.app, "POST", BATCH, json={"tasks": tasks})
    assert (207, 2, 3) == (answer.status, answer.json()["accepted"], answer.json()["failed"])
    assert [202, 422, 422, 422, 202] == [result["status"] for result in answer.json()["results"]]
    error = answer.json()["results"][1]["error"]
    assert {"code": "invalid_task", "detail": "payload.text: Field required"} == error
    assert 2 == (await kit.tasks.stats()).approximate_messages


async def test_ndjson_is_one_task_a_line(kit: GatewayKit) -> None:
    """Lines are read with and without a newline at the end, and with carriage returns."""
    for content in (b'{"type": "a"}\n{"type": "b"}', b'{"type": "a"}\r\n{"type": "b"}\r\n'):
        answer = await lines(kit, content)
        assert (202, 2) == (answer.status, answer.json()["accepted"])


async def test_malformed_line_is_that_lines_verdict_only(kit: GatewayKit) -> None:
    """A line that is no JSON, or empty, fails alone."""
    answer = await lines(kit, b'{"type": "a"}\n{"type": \n\n{"type": "b"}\n')
    assert 207 == answer.status
    assert [202, 400, 400, 202] == [result["status"] for result in answer.json()["results"]]
    assert "malformed_json" == answer.json()["results"][1]["error"]["code"]


async def test_malformed_json_fails_the_whole_batch(kit: GatewayKit) -> None:
    """One JSON document is either read or not."""
    answer = await call(kit.app, "POST", BATCH, content=b'{"tasks": [', headers={"Content-Type": "application/json"})
    assert (400, "malformed_json") == (answer.status, answer.json()["code"])


@pytest.mark.parametrize("body", [[], {}, {"tasks": {}}, {"tasks": [], "more": 1}, {"task": []}, None])
async def test_batch_is_an_object_with_tasks(kit: GatewayKit, body: object) -> None:
    """Any other shape is refused as a whole."""
    answer = await call(kit.app, "POST", BATCH, json=body)
    assert (422, "invalid_task") == (answer.status, answer.json()["code"])


async def test_batch_has_at_least_one_task(kit: GatewayKit) -> None:
    """An empty batch is a mistake of the caller in either format."""
    empty = await call(kit.app, "POST", BATCH, json={"tasks": []})
    assert (422, ["body", "tasks"]) == (empty.status, empty.json()["errors"][0]["loc"])
    assert 422 == (await lines(kit, b"")).status
    assert 422 == (await lines(kit, b"\n")).status


async def test_batch_has_at_most_a_thousand_tasks(kit: GatewayKit) -> None:
    """One more is refused in either format, and none of them is enqueued."""
    most, more = [{"type": "a"}] * 1000, [{"type": "a"}] * 1001
    assert 422 == (await call(kit.app, "POST", BATCH, json={"tasks": more})).status
    assert 422 == (await lines(kit, b"\n".join(json.dumps(task).encode() for task in more))).status
    assert 0 == (await kit.tasks.stats()).approximate_messages
    assert 202 == (await call(kit.app, "POST", BATCH, json={"tasks": most})).status


async def test_flood_of_newlines_is_refused(kit: GatewayKit) -> None:
    """Lines are counted before they are read."""
    assert 422 == (await lines(kit, b"\n" * 1_000_000)).status


async def test_unknown_queue_fails_the_whole_batch(kit: GatewayKit) -> None:
    """Where there is no queue there are no verdicts, also where no task is valid."""
    answer = await call(kit.app, "POST", "/v1/queues/nope/tasks/batch", json={"tasks": [1]})
    assert (404, "queue_not_found") == (answer.status, answer.json()["code"])


async def test_idempotency_key_of_a_batch_stands_in_its_tasks(kit: GatewayKit) -> None:
    """The header is refused; the member asks for the ledger, task by task."""
    tasks = {"tasks": [{"type": "a", "idempotency_key": "k"}, {"type": "b"}]}
    header = await call(kit.app, "POST", BATCH, json=tasks, headers={"Idempotency-Key": "k"})
    assert (422, ["header", "Idempotency-Key"]) == (header.status, header.json()["errors"][0]["loc"])
    member = await call(kit.app, "POST", BATCH, json=tasks)
    assert [501, 202] == [result["status"] for result in member.json()["results"]]
    assert "ledger_disabled" == member.json()["results"][0]["error"]["code"]


async def test_full_queue_refuses_what_has_no_room() -> None:
    """Each task has its own verdict, so that those with room are kept."""
    kit = GatewayKit(max_depth=1)
    answer = await call(kit.app, "POST", BATCH, json={"tasks": [{"type": "a"}, {"type": "b"}]})
    assert [202, 429] == [result["status"] for result in answer.json()["results"]]


async def test_deduplicated_task_is_accepted_under_the_first_id(kit: GatewayKit) -> None:
    """A batch tells of deduplication like a single task."""
    task = {"type": "a", "deduplication_id": "d"}
    answer = await call(kit.app, "POST", "/v1/queues/orders/tasks/batch", json={"tasks": [task, task]})
    first, second = answer.json()["results"]
    assert (202, first["id"], True) == (answer.status, second["id"], second["deduplicated"])


class Broken(InMemoryQueue):
    """A queue whose backend fails for one task, or answers not at all."""

    error: Exception = BackendUnavailableError()

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Fail."""
        raise self.error


def broken(kit: GatewayKit, error: Exception) -> GatewayKit:
    """Return a kit with a queue ``broken`` that raises ``error``."""
    queue = Broken(make_spec("broken"), clock=kit.clock, serializer=kit.serializer)
    queue.error = error
    return GatewayKit(extra={"broken": queue})


async def test_silent_backend_fails_the_whole_batch(kit: GatewayKit) -> None:
    """A batch of which nothing is known is answered as such, so that the client sends it again."""
    silent = broken(kit, BackendUnavailableError())
    answer = await call(silent.app, "POST", "/v1/queues/broken/tasks/batch", json={"tasks": [{"type": "a"}]})
    assert (503, "backend_unavailable", "1") == (answer.status, answer.json()["code"], answer.headers["retry-after"])


class Odd(InMemoryQueue):
    """A queue that answers the first task of a batch with an error that no answer has a code for."""

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Take the others."""
        return [QueueSetupError("odd"), *await super().enqueue_batch(tasks[1:])]


async def test_unexpected_verdict_is_that_tasks_alone(kit: GatewayKit, caplog: pytest.LogCaptureFixture) -> None:
    """The others were accepted, and their client learns it; the log has the error under the id of the answer."""
    queue = Odd(make_spec("odd"), clock=kit.clock, serializer=kit.serializer)
    odd, trace = GatewayKit(extra={"odd": queue}), {"traceparent": f"00-{TRACE_ID}-0123456789abcdef-01"}
    members = {"tasks": [{"type": "a"}, {"type": "b"}]}
    answer = await call(odd.app, "POST", "/v1/queues/odd/tasks/batch", json=members, headers=trace)
    assert (207, 1, 1) == (answer.status, answer.json()["accepted"], answer.json()["failed"])
    assert [500, 202] == [result["status"] for result in answer.json()["results"]]
    assert "internal_error" == answer.json()["results"][0]["error"]["code"]
    (record,) = [record for record in caplog.records if record.exc_info]
    assert TRACE_ID == vars(record)["trace_id"]


async def test_batch_of_too_many_values_is_refused_as_a_whole(kit: GatewayKit) -> None:
    """As one document and as lines: nothing of it is parsed."""
    dense = b"[" + b",".join([b"{}"] * 1000) + b"]"
    document = b'{"tasks": [' + b",".join([dense] * 200) + b"]}"

    for answer in (
        await call(kit.app, "POST", BATCH, content=document, headers=JSON_TYPE),
        await lines(kit, b'"\n' + b"\n".join([dense] * 200)),
    ):
        assert (413, "request_too_large", "more than 250000 values") == (
            answer.status,
            answer.json()["code"],
            answer.json()["detail"],
        )


async def test_line_that_is_no_utf8_fails_alone(kit: GatewayKit) -> None:
    """The others of its batch are accepted."""
    answer = await lines(kit, b'{"type": "\xff"}\n{"type": "b"}')

    assert [400, 202] == [result["status"] for result in answer.json()["results"]]
