"""Errors as problem details (RFC 9457): the one place that knows which HTTP status an error has."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from math import ceil

from starlette.exceptions import HTTPException
from starlette.responses import Response

from mcp_queue.domain.errors import (
    BackendUnavailableError,
    DelayNotSupportedError,
    FieldError,
    IdempotencyInProgressError,
    IdempotencyKeyReusedError,
    InvalidTaskError,
    NotFoundError,
    NotSupportedError,
    OverloadedError,
    QueueFullError,
    QueueNotFoundError,
    TaskAlreadyEndedError,
    TaskNotFoundError,
    TaskTooLargeError,
    TryLaterError,
)
from mcp_queue.domain.formats.strict_json import MalformedJsonError, TooManyValuesError, dumps

MEDIA_TYPE = "application/problem+json"

#: The codes that callers may rely on, and the HTTP status of each.
STATUSES: Mapping[str, int] = {
    "malformed_json": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "queue_not_found": 404,
    "task_not_found": 404,
    "method_not_allowed": 405,
    "task_already_ended": 409,
    "idempotency_in_progress": 409,
    "task_too_large": 413,
    "request_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_task": 422,
    "idempotency_key_reused": 422,
    "delay_not_supported": 422,
    "confirmation_mismatch": 422,
    "queue_full": 429,
    "rate_limited": 429,
    "internal_error": 500,
    "ledger_disabled": 501,
    "backend_unavailable": 503,
    "overloaded": 503,
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a caller learns of an error."""

    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    retry_after: timedelta | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUSES[self.code]


class ProblemError(Exception):
    """A request that HTTP itself is a reason to refuse."""

    def __init__(self, problem: Problem) -> None:
        """Refuse with ``problem``."""
        super().__init__(problem.detail)
        self.problem = problem


# The first class that an error is an instance of decides: subclasses stand before their bases.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (TooManyValuesError, "request_too_large"),
    (MalformedJsonError, "malformed_json"),
    (TaskTooLargeError, "task_too_large"),
    (DelayNotSupportedError, "delay_not_supported"),
    (InvalidTaskError, "invalid_task"),
    (QueueNotFoundError, "queue_not_found"),
    (TaskNotFoundError, "task_not_found"),
    (NotFoundError, "not_found"),
    (IdempotencyInProgressError, "idempotency_in_progress"),
    (IdempotencyKeyReusedError, "idempotency_key_reused"),
    (TaskAlreadyEndedError, "task_already_ended"),
    (QueueFullError, "queue_full"),
    (OverloadedError, "overloaded"),
    (BackendUnavailableError, "backend_unavailable"),
    (TryLaterError, "rate_limited"),
    (NotSupportedError, "ledger_disabled"),
)
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}  # RFC 9110 renamed them; Python follows in 3.13


def problem_of(error: Exception) -> Problem | None:
    """Return what the caller learns of ``error``, ``None`` where it is an unexpected one."""
    if isinstance(error, ProblemError):
        return error.problem
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.NOT_FOUND:
        return Problem(code="not_found", detail="there is nothing at this path")
    for kind, code in _CODES:
        if isinstance(error, kind):
            errors = error.errors if isinstance(error, InvalidTaskError) else ()
            return Problem(code=code, detail=str(error), errors=errors, retry_after=_retry_after(error))
    return None


def response_to(error: Exception, trace_id: str) -> Response:
    """Return the answer that tells ``error``; an unexpected one is logged, and its answer says nothing of it."""
    problem = problem_of(error)
    if problem is None:
        logger.error("unexpected failure of a request", exc_info=error, extra={"trace_id": trace_id})
        problem = Problem(code="internal_error", detail="Something went wrong here. The trace id finds it.")
    return render(problem, trace_id)


def render(problem: Problem, trace_id: str) -> Response:
    """Return ``problem`` as an answer."""
    members: dict[str, object] = {
        "type": "about:blank",
        "title": _TITLES.get(problem.status) or HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
    }
    if problem.errors:
        members["errors"] = [{"loc": list(error.loc), "msg": error.msg} for error in problem.errors]
    members["retryable"] = problem.retry_after is not None
    members["trace_id"] = trace_id
    headers = dict(problem.headers)
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, ceil(problem.retry_after.total_seconds())))
    return Response(dumps(members).encode(), problem.status, headers, MEDIA_TYPE)


def _retry_after(error: Exception) -> timedelta | None:
    return error.retry_after if isinstance(error, TryLaterError | IdempotencyInProgressError) else None
