"""Batches that are read and sent in slices answer as small ones do."""

import json
from collections.abc import Sequence

import pytest

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import BackendUnavailableError, QueueError
from mcp_queue.domain.task import Task
from mcp_queue.gateway.server.memory import SLICE_BYTES
from mcp_queue.testing import InMemoryQueue
from tests.support.clock import NOW
from tests.support.gateway import GatewayKit
from tests.support.http.application import JSON_TYPE, Answer, call
from tests.support.tasks import make_spec

TEXT = "x" * 10_000
#: Three slices and a bit.
COUNT = 3 * SLICE_BYTES // len(TEXT) + 10


def tasks(count: int = COUNT) -> list[object]:
    """Return tasks that are numbered in their type."""
    return [{"type": f"t{number}", "payload": TEXT} for number in range(count)]


async def posted(kit: GatewayKit, content: bytes, queue: str = "tasks") -> Answer:
    """Post a JSON batch."""
    return await call(kit.app, "POST", f"/v1/queues/{queue}/tasks/batch", content=content, headers=JSON_TYPE)


def document(members: Sequence[object], indent: int | None = None) -> bytes:
    """Return the batch as JSON."""
    return json.dumps({"tasks": members}, indent=indent).encode()


@pytest.mark.parametrize("form", ["compact", "indented", "lines"])
async def test_tasks_are_accepted_in_order(kit: GatewayKit, form: str) -> None:
    """Whatever space there is between them."""
    if form == "lines":
        lines = b"\n".join(json.dumps(task).encode() for task in tasks())
        headers = {"Content-Type": "application/x-ndjson"}
        answer = await call(kit.app, "POST", "/v1/queues/tasks/tasks/batch", content=lines, headers=headers)
    else:
        answer = await posted(kit, document(tasks(), indent=4 if form == "indented" else None))
    assert (202, COUNT, 0) == (answer.status, answer.json()["accepted"], answer.json()["failed"])
    assert list(range(COUNT)) == [result["index"] for result in answer.json()["results"]]
    received = [delivery.task for delivery in await kit.tasks.receive(COUNT, NOW)]
    assert [f"t{number}" for number in range(COUNT)] == [task.type for task in received if task]
    assert [result["id"] for result in answer.json()["results"]] == [task.id for task in received if task]


@pytest.mark.parametrize(
    ("end", "detail"),
    [
        (b"", "Expecting ',' delimiter"),
        (b"]", None),
        (b",]}", "Expecting value"),
        (b'{"type": "t"}]}', "Expecting ',' delimiter"),
        (b', {"type": "t", "type": "t"}]}', "stands twice"),
        (b", NaN]}", "NaN"),
        (b", " + b"[" * 99 + b"]" * 99 + b"]}", "nested"),
        (rb', "\ud800"]}', "surrogate"),
        (b"]} x", None),
    ],
)
async def test_document_is_read_or_not(kit: GatewayKit, end: bytes, detail: str | None) -> None:
    """A mistake at its end is found before the first task is sent."""
    whole = document(tasks()).removesuffix(b"]}")
    answer = await posted(kit, whole + end)
    assert (400, "malformed_json") == (answer.status, answer.json()["code"])
    assert detail is None or detail in answer.json()["detail"]
    assert 0 == (await kit.tasks.stats()).approximate_messages


async def test_depth_is_counted_from_the_document(kit: GatewayKit) -> None:
    """A hundred levels are read in a large batch as in a small one."""
    whole = document(tasks()).removesuffix(b"]}")
    deepest = b', {"type": "t", "payload": ' + b"[" * 97 + b"]" * 97 + b"}]}"
    assert 202 == (await posted(kit, whole + deepest)).status


@pytest.mark.parametrize("end", [b'], "more": 1}', b'], "tasks": []}'])
async def test_other_members_are_refused(kit: GatewayKit, end: bytes) -> None:
    """As in a small batch."""
    answer = await posted(kit, document(tasks()).removesuffix(b"]}") + end)
    assert answer.status in {400, 422}
    assert 0 == (await kit.tasks.stats()).approximate_messages


async def test_name_of_the_array_may_be_escaped(kit: GatewayKit) -> None:
    """It is JSON, and read as a whole."""
    answer = await posted(kit, document(tasks()).replace(b'"tasks"', rb'"\u0074asks"', 1))
    assert (202, COUNT) == (answer.status, answer.json()["accepted"])


async def test_number_of_tasks_is_checked(kit: GatewayKit) -> None:
    """Before the first is sent."""
    members = [{"type": "t", "payload": "x" * 1500}] * 1001
    assert 422 == (await posted(kit, document(members))).status
    assert 0 == (await kit.tasks.stats()).approximate_messages


async def test_task_with_too_much_text_is_refused_alone(kit: GatewayKit) -> None:
    """It could not be posted by itself either."""
    large = {"type": "t", "payload": "x" * kit.limits.max_task_text}
    answer = await posted(kit, document([{"type": "a"}, large, {"type": "b"}]))
    assert [202, 413, 202] == [result["status"] for result in answer.json()["results"]]


class Failing(InMemoryQueue):
    """A queue that takes a number of batches and then fails."""

    takes = 0
    error: Exception = BackendUnavailableError()

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Take a batch, or fail."""
        if self.takes == 0:
            raise self.error
        self.takes -= 1
        return await super().enqueue_batch(tasks)


@pytest.mark.parametrize(("error", "status"), [(BackendUnavailableError(), 503), (RuntimeError("a defect"), 500)])
async def test_failure_after_the_first_slice_is_the_verdict_on_the_rest(
    kit: GatewayKit, error: Exception, status: int
) -> None:
    """The client learns what was accepted before; the rest is not tried, and may be sent again."""
    queue = Failing(make_spec("failing"), clock=kit.clock, serializer=kit.serializer)
    queue.takes, queue.error = 1, error
    answer = await posted(GatewayKit(extra={"failing": queue}), document(tasks()), "failing")
    statuses = [result["status"] for result in answer.json()["results"]]
    accepted = answer.json()["accepted"]
    assert 207 == answer.status
    assert 0 < accepted < COUNT
    assert [202] * accepted + [status] * (COUNT - accepted) == statuses
    assert accepted == (await queue.stats()).approximate_messages


async def test_silence_at_the_first_slice_fails_the_whole_batch(kit: GatewayKit) -> None:
    """Nothing was accepted: all of it is to be sent again."""
    queue = Failing(make_spec("failing"), clock=kit.clock, serializer=kit.serializer)
    answer = await posted(GatewayKit(extra={"failing": queue}), document(tasks()), "failing")
    assert (503, "backend_unavailable") == (answer.status, answer.json()["code"])
