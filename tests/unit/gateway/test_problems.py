"""Errors as problem details."""

import logging
from collections.abc import Sequence
from datetime import timedelta

import pytest

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import (
    BackendUnavailableError,
    ConflictError,
    DelayNotSupportedError,
    FieldError,
    IdempotencyInProgressError,
    IdempotencyKeyReusedError,
    InvalidCursorError,
    InvalidTaskError,
    LedgerDisabledError,
    LedgerUnavailableError,
    MalformedJsonError,
    NotFoundError,
    NotSupportedError,
    OverloadedError,
    QueueError,
    QueueFullError,
    QueueNotFoundError,
    RateLimitedError,
    TaskAlreadyEndedError,
    TaskNotFoundError,
    TaskTooLargeError,
    TooManyValuesError,
    TryLaterError,
    VisibilityTimeoutError,
)
from mcp_queue.domain.task import Task
from mcp_queue.gateway.problems import STATUSES, problem_of, response_to
from mcp_queue.testing import InMemoryQueue
from tests.support.gateway import TRACE_ID, GatewayKit
from tests.support.http.application import Answer, call
from tests.support.tasks import make_spec

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

EXPECTED = [
    (MalformedJsonError("x"), 400, "malformed_json"),
    (TooManyValuesError("x"), 413, "request_too_large"),
    (NotFoundError(), 404, "not_found"),
    (QueueNotFoundError("x"), 404, "queue_not_found"),
    (TaskNotFoundError(), 404, "task_not_found"),
    (TaskAlreadyEndedError(), 409, "task_already_ended"),
    (IdempotencyInProgressError(), 409, "idempotency_in_progress"),
    (TaskTooLargeError(1, 2), 413, "task_too_large"),
    (InvalidTaskError(), 422, "invalid_task"),
    (InvalidCursorError(), 422, "invalid_task"),
    (IdempotencyKeyReusedError(), 422, "idempotency_key_reused"),
    (DelayNotSupportedError(), 422, "delay_not_supported"),
    (QueueFullError(), 429, "queue_full"),
    (RateLimitedError(), 429, "rate_limited"),
    (TryLaterError(), 429, "rate_limited"),
    (NotSupportedError(), 501, "not_supported"),
    (LedgerDisabledError(), 501, "ledger_disabled"),
    (OverloadedError(), 503, "overloaded"),
    (BackendUnavailableError(), 503, "backend_unavailable"),
    (LedgerUnavailableError(), 503, "backend_unavailable"),
]


class Failing(InMemoryQueue):
    """A queue that raises what it is told to."""

    error: Exception

    async def enqueue(self, task: Task) -> Accepted:
        """Fail."""
        raise self.error

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Answer with the failure as the verdict of every task."""
        assert isinstance(self.error, QueueError)
        return [self.error for _ in tasks]


def failing(error: Exception) -> GatewayKit:
    """Return a gateway with a queue ``failing`` that raises ``error``."""
    plain = GatewayKit()
    queue = Failing(make_spec("failing"), clock=plain.clock, serializer=plain.serializer)
    queue.error = error
    return GatewayKit(extra={"failing": queue})


async def enqueue(kit: GatewayKit, **headers: str) -> Answer:
    """Post a task to the queue that fails."""
    return await call(kit.app, "POST", "/v1/queues/failing/tasks", json={"type": "a"}, headers=headers)


@pytest.mark.parametrize(("error", "status", "code"), EXPECTED, ids=lambda value: type(value).__name__)
async def test_error_has_its_status_and_code(error: Exception, status: int, code: str) -> None:
    """What a route raises decides the answer, whichever route it is."""
    answer = await enqueue(failing(error))
    assert (status, code, status) == (answer.status, answer.json()["code"], answer.json()["status"])
    assert "application/problem+json" == answer.headers["content-type"]


@pytest.mark.parametrize("error", [error for error, _, _ in EXPECTED], ids=lambda error: type(error).__name__)
async def test_what_may_succeed_later_says_when(error: Exception) -> None:
    """Retryable problems, and no others, carry Retry-After."""
    answer = await enqueue(failing(error))
    later = isinstance(error, TryLaterError | IdempotencyInProgressError)
    assert (later, later) == (answer.json()["retryable"], "retry-after" in answer.headers)


@pytest.mark.parametrize(("seconds", "header"), [(0, "1"), (0.2, "1"), (1, "1"), (1.01, "2"), (90, "90")])
def test_retry_after_is_whole_seconds(seconds: float, header: str) -> None:
    """Waiting is rounded up, and never nothing."""
    response = response_to(QueueFullError(retry_after=timedelta(seconds=seconds)), TRACE_ID)
    assert header == response.headers["Retry-After"]


async def test_problem_has_the_members_of_rfc_9457() -> None:
    """The answer tells what is wrong to people and to programs."""
    answer = await enqueue(failing(InvalidTaskError("a: b", (FieldError(("body", "a", 0), "b"),))))
    expected = {
        "type": "about:blank",
        "title": "Unprocessable Content",
        "status": 422,
        "code": "invalid_task",
        "detail": "a: b",
        "errors": [{"loc": ["body", "a", 0], "msg": "b"}],
        "retryable": False,
        "trace_id": TRACE_ID,
    }
    assert expected == answer.json()


async def test_problem_belongs_to_the_callers_trace() -> None:
    """A caller that traces finds its own id in the answer."""
    answer = await enqueue(failing(QueueFullError()), traceparent=TRACEPARENT)
    assert "0af7651916cd43dd8448eb211c80319c" == answer.json()["trace_id"]


@pytest.mark.parametrize("error", [RuntimeError("secret"), ConflictError("secret")])
async def test_unexpected_failure_is_bare(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of the failure leaves the process; the log has it whole, under the trace id of the answer."""
    with caplog.at_level(logging.ERROR):
        answer = await enqueue(failing(error))
    assert (500, "internal_error") == (answer.status, answer.json()["code"])
    assert b"secret" not in answer.body
    (record,) = caplog.records
    assert record.exc_info is not None
    assert error is record.exc_info[1]
    assert answer.json()["trace_id"] == record.__dict__["trace_id"]


async def test_unexpected_verdict_on_a_batch_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """However many tasks it is the verdict on."""
    kit = failing(VisibilityTimeoutError("secret"))
    answer = await call(kit.app, "POST", "/v1/queues/failing/tasks/batch", json={"tasks": [{"type": "a"}] * 3})
    assert (207, [500] * 3) == (answer.status, [result["status"] for result in answer.json()["results"]])
    assert b"secret" not in answer.body
    assert 1 == len(caplog.records)


async def test_unknown_path_is_not_found(kit: GatewayKit) -> None:
    """Also one that differs by a slash: there is no redirect."""
    for path in ("/", "/v1", "/v1/queues/", "/v1/queues/tasks/tasks/"):
        answer = await call(kit.app, "GET", path)
        assert (404, "not_found") == (answer.status, answer.json()["code"])


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/queues", "GET, HEAD"),
        ("GET", "/v1/queues/tasks/tasks", "POST"),
        ("OPTIONS", "/v1/queues/tasks/tasks", "POST"),
        ("HEAD", "/v1/queues/tasks/tasks", "POST"),
        ("POST", "/docs", "GET, HEAD"),
    ],
)
async def test_wrong_method_says_which_are_right(kit: GatewayKit, method: str, path: str, allow: str) -> None:
    """405 comes with Allow."""
    answer = await call(kit.app, method, path)
    assert (405, "method_not_allowed", allow) == (answer.status, answer.json()["code"], answer.headers["allow"])


def test_every_code_has_an_error_of_its_own_or_is_http() -> None:
    """The table of codes holds nothing that is never answered."""
    raised = {code for _, _, code in EXPECTED}
    http = {
        "unauthenticated", "forbidden", "malformed_request", "method_not_allowed", "unsupported_media_type",
            "confirmation_mismatch",
    }  # fmt: skip
    assert set(STATUSES) == raised | http | {"internal_error"}


def test_unknown_exception_is_no_problem() -> None:
    """What is not known here is not explained to callers."""
    assert problem_of(ValueError()) is None
