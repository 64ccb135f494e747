"""Turns errors into problem details (RFC 9457). No other module knows which HTTP status an error has."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from math import ceil
from typing import Annotated

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mcp_queue.domain.errors import (
    BackendUnavailableError,
    DelayNotSupportedError,
    FieldError,
    IdempotencyInProgressError,
    IdempotencyKeyReusedError,
    InvalidCursorError,
    InvalidTaskError,
    LedgerDisabledError,
    MalformedJsonError,
    NotFoundError,
    NotSupportedError,
    OverloadedError,
    QueueFullError,
    QueueNotFoundError,
    TaskAlreadyEndedError,
    TaskNotFoundError,
    TaskTooLargeError,
    TooManyValuesError,
    TryLaterError,
)
from mcp_queue.gateway.answers import View, encode, optional
from mcp_queue.services.enqueueing.validation import invalid

MEDIA_TYPE = "application/problem+json"

#: The codes that callers may rely on, and the HTTP status of each.
STATUSES: Mapping[str, int] = {
    "malformed_json": 400,
    "malformed_request": 400,
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
    "not_supported": 501,
    "backend_unavailable": 503,
    "overloaded": 503,
}

logger = logging.getLogger(__name__)


class ProblemField(View):
    """One wrong member of the request."""

    loc: list[str | int]
    msg: str


class ProblemView(View):
    """An error (RFC 9457). `code` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[ProblemField] = optional()
    retryable: Annotated[bool, Field(description="The same request may succeed after `Retry-After`.")]
    trace_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What the answer to a request says about its error."""

    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    retry_after: timedelta | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUSES[self.code]


class RequestRefusedError(Exception):
    """The gateway refuses the request itself, before any service sees it."""

    def __init__(self, problem: Problem) -> None:
        """Keep the ``problem`` to answer with."""
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
    (LedgerDisabledError, "ledger_disabled"),
    (NotSupportedError, "not_supported"),
)
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}  # RFC 9110 renamed them; Python follows in 3.13


def problem_of(error: Exception) -> Problem | None:
    """Return what the answer says about ``error``, ``None`` if the error is unexpected."""
    if isinstance(error, RequestRefusedError):
        return error.problem
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.NOT_FOUND:
        return Problem(code="not_found", detail="there is nothing at this path")
    if isinstance(error, InvalidCursorError):
        error = invalid(FieldError(("query", "cursor"), "no such cursor"))
    for kind, code in _CODES:
        if isinstance(error, kind):
            errors = error.errors if isinstance(error, InvalidTaskError) else ()
            return Problem(code=code, detail=str(error), errors=errors, retry_after=_retry_after(error))
    return None


def response_to(error: Exception, trace_id: str) -> Response:
    """Return the answer to a request that failed with ``error``."""
    return render(problem_or_logged(error, trace_id), trace_id)


def problem_or_logged(error: Exception, trace_id: str) -> Problem:
    """Return what the answer says about ``error``; an unexpected one is logged under ``trace_id`` and not described."""
    problem = problem_of(error)
    if problem is not None:
        return problem
    logger.error("unexpected failure of a request", exc_info=error, extra={"trace_id": trace_id})
    return Problem(code="internal_error", detail="Something went wrong here. The trace id finds it.")


def render(problem: Problem, trace_id: str) -> Response:
    """Return ``problem`` as an answer."""
    view = ProblemView(
        type="about:blank",
        title=_TITLES.get(problem.status) or HTTPStatus(problem.status).phrase,
        status=problem.status,
        code=problem.code,
        detail=problem.detail,
        errors=[ProblemField(loc=list(error.loc), msg=error.msg) for error in problem.errors],
        retryable=problem.retry_after is not None,
        trace_id=trace_id,
    )
    headers = dict(problem.headers)
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, ceil(problem.retry_after.total_seconds())))
    return Response(encode(view), problem.status, headers, MEDIA_TYPE)


def _retry_after(error: Exception) -> timedelta | None:
    return error.retry_after if isinstance(error, TryLaterError | IdempotencyInProgressError) else None
