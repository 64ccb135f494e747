"""What a callback receives, and what its answer means."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.domain.task_states import MAX_RESULT_BYTES, kept_result
from mcp_queue.ports import CallbackRequest, CallbackResponse
from mcp_queue.services.execution.callbacks import CallbackTimeouts, callback_request, callback_result

SECONDS_30 = timedelta(seconds=30)


def a_task(**members: object) -> Task:
    """Return a task with a payload and metadata that are not ASCII."""
    values: dict[str, object] = {
        "id": "0198",
        "type": "document",
        "queue": "tasks",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "payload": {"text": "grün"},
        "priority": 2,
        "metadata": {"k": "v"},
        "max_retries": 3,
        **members,
    }
    return Task(**values)  # type: ignore[arg-type]  # the members are those of a task


def request_of(task: Task, attempt: int = 1) -> CallbackRequest:
    """Return the request of an attempt."""
    return callback_request(task, "https://example.com/hook", attempt=attempt, timeout=SECONDS_30)


def test_the_body_is_the_task_and_its_attempt() -> None:
    """The members of the contract, no more."""
    expected = {
        "id": "0198",
        "type": "document",
        "queue": "tasks",
        "priority": 2,
        "payload": {"text": "grün"},
        "metadata": {"k": "v"},
        "created_at": "2026-01-01T00:00:00.000000Z",
        "attempt": 2,
        "max_attempts": 4,
    }

    body = request_of(a_task(), attempt=2).body

    assert expected == json.loads(body)
    assert body.isascii()


def test_the_headers_name_the_task() -> None:
    """For receivers that route before they read the body."""
    expected = {
        "Content-Type": "application/json",
        "X-Task-Id": "0198",
        "X-Task-Type": "document",
        "X-Task-Queue": "tasks",
        "X-Task-Attempt": "1",
    }

    assert expected == request_of(a_task()).headers


def test_the_trace_goes_on_to_the_callback() -> None:
    """Where the task has one."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    assert traceparent == request_of(a_task(traceparent=traceparent)).headers["traceparent"]


def test_an_id_of_another_producer_cannot_break_a_header() -> None:
    """SQS takes a message with any id and type from anybody who may send."""
    request = request_of(a_task(id="a\r\nX-Evil: 1", type="ä b"))

    assert request.headers["X-Task-Id"] == "a%0D%0AX-Evil:%201"
    assert request.headers["X-Task-Type"] == "%C3%A4%20b"


def test_a_callback_is_signed_by_the_task_id() -> None:
    """It stays the same over all attempts, so that a receiver can tell a repetition."""
    assert request_of(a_task(), attempt=1).signed_as == request_of(a_task(), attempt=2).signed_as == "0198"


def test_a_route_adds_its_headers_and_secrets() -> None:
    """But not in the place of those that name the task."""
    request = callback_request(
        a_task(),
        "https://example.com/",
        attempt=1,
        timeout=SECONDS_30,
        headers={"Authorization": "Bearer x", "X-Task-Id": "forged"},
        secrets=("whsec_x",),
    )

    assert ("Bearer x", "0198") == (request.headers["Authorization"], request.headers["X-Task-Id"])
    assert request.secrets == ("whsec_x",)


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"ok": true}', {"ok": True}),
        ("application/json; charset=utf-8", b"[1]", [1]),
        ("application/problem+json", b"null", None),
        ("Application/JSON", b'"text"', "text"),
        ("application/json", b"", None),
        ("application/json", b"{", None),
        ("application/json", b'{"a": NaN}', None),
        ("text/html", b"<p>ok</p>", None),
        ("application/octet-stream", b"{}", None),
    ],
)
def test_a_json_answer_becomes_the_result(content_type: str, body: bytes, expected: JsonValue) -> None:
    """Everything else completes the task without one."""
    assert expected == callback_result(CallbackResponse(status=200, content_type=content_type, body=body))


def test_of_a_json_answer_that_was_cut_the_kept_part_is_the_result() -> None:
    """Marked, so that nobody takes it for the whole."""
    response = CallbackResponse(status=200, content_type="application/json", body=b'{"a": "\xc3', truncated=True)

    assert {"truncated": True, "text": '{"a": "\ufffd'} == callback_result(response)


@pytest.mark.parametrize("text", ['"\\\n', "é", "\U0001f600"], ids=ascii)
def test_what_is_kept_of_a_cut_answer_is_not_cut_again(text: str) -> None:
    """The ledger would cut the mark along with the text, and mark that."""
    body = (text * MAX_RESULT_BYTES).encode()[:MAX_RESULT_BYTES]
    response = CallbackResponse(status=200, content_type="application/json", body=body, truncated=True)

    result = callback_result(response)
    assert dumps(result) == kept_result(result)


def test_the_time_limit_is_that_of_the_tasks_queue() -> None:
    """A message may name a queue that does not exist."""
    timeouts = CallbackTimeouts({"short": timedelta(seconds=8)})

    assert (timedelta(seconds=8), SECONDS_30) == (timeouts.of("short"), timeouts.of("made-up"))
