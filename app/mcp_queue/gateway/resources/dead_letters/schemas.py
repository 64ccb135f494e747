"""Requests about dead letters, and the answers to them."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import override

from mcp_queue.domain.callbacks.destinations import origin_of
from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterFilter, RedriveStatus
from mcp_queue.domain.dead_letters.reading import (
    DeadLetterDetails,
    DeadLetterPage,
    DeadLetterSummary,
    RedriveOutcome,
    RedriveRefusal,
)
from mcp_queue.domain.operators.keys import Caller
from mcp_queue.gateway.answers import AnyJson, CallbackUrl, RedactedView, TaskContentView, View, optional, redacted
from mcp_queue.gateway.problems import problem_of
from mcp_queue.gateway.resources.requests import PageQuery
from mcp_queue.gateway.resources.tasks.schemas import AttemptView
from mcp_queue.services.enqueueing.request import Time, TypeName

MAX_IDS = 1000
MAX_RATE = 10_000

_Type = Annotated[TypeName | None, Field(description="Only tasks of this type.")]
_Reason = Annotated[
    str | None, Field(min_length=1, max_length=1024, description="Only if this text is in the reason, in any case.")
]
_After = Annotated[Time | None, Field(description="Only what failed after this.")]
_Before = Annotated[Time | None, Field(description="Only what failed before this.")]


class DeadLetterQuery(PageQuery):
    """Which dead letters a list shows."""

    type: _Type = None
    reason: _Reason = None
    failed_after: _After = None
    failed_before: _Before = None


class DeadLetterConditions(BaseModel):
    """Dead letters that meet every condition given."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: _Type = None
    reason: _Reason = None
    failed_after: _After = None
    failed_before: _Before = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_fields_set:
            raise ValueError('a filter has a condition; "all" means every dead letter')
        return self


class RedriveRequest(BaseModel):
    """Which dead letters are redriven: one of `ids`, `filter` and `all`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    ids: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=1024)]] | None,
        Field(min_length=1, max_length=MAX_IDS, description="Dead letters with these ids. Unknown ids are ignored."),
    ] = None
    filter: Annotated[DeadLetterConditions | None, Field(description="Dead letters that it matches.")] = None
    all: Annotated[Literal[True] | None, Field(description="Every dead letter.")] = None
    dry_run: Annotated[bool, Field(description="Only count them.")] = False
    max_per_second: Annotated[
        float | None, Field(ge=0.01, le=MAX_RATE, description="Redrive in the background at this rate.")
    ] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(way is not None for way in (self.ids, self.filter, self.all)) != 1:
            raise ValueError('expected one of the members "ids", "filter" and "all"')
        return self


def chosen_dead_letters(
    queue: str, chosen: DeadLetterQuery | DeadLetterConditions | None = None, ids: list[str] | None = None
) -> DeadLetterFilter:
    """Return the filter for what a request names of the dead letters of ``queue``."""
    if chosen is None:
        return DeadLetterFilter(queue=queue, ids=None if ids is None else tuple(ids))
    return DeadLetterFilter(
        queue=queue,
        type=chosen.type,
        reason=chosen.reason,
        failed_after=chosen.failed_after,
        failed_before=chosen.failed_before,
    )


class DeadLetterSummaryView(View):
    """How many dead letters of a queue wait, and since when; `null` where this is not known."""

    queue_name: str
    approximate_messages: int | None
    oldest_failed_at: datetime | None

    @classmethod
    def of(cls, summary: DeadLetterSummary) -> Self:
        """Return ``summary`` as clients see it."""
        return cls(
            queue_name=summary.queue,
            approximate_messages=summary.waiting,
            oldest_failed_at=summary.oldest_failed_at,
        )


class DeadLetterView(RedactedView):
    """A dead letter. If the body of the message is not a task, the members that only a task has are `null`."""

    id: str
    type: str | None
    failure_reason: str
    failed_at: datetime
    original_queue: Annotated[str | None, Field(description="`null` where several queues may have sent it.")]
    attempts: int
    response_status: Annotated[int | None, Field(description="HTTP status of the last answer.")]
    redrive_count: int
    priority: int | None
    metadata: dict[str, str] | None
    created_at: datetime | None
    max_retries: int | None
    callback_url: CallbackUrl
    group: str | None

    @classmethod
    def of(cls, dead_letter: DeadLetter, queue: str) -> Self:
        """Return ``dead_letter`` as clients see it among those of ``queue``."""
        return cls.model_validate(_members(dead_letter, queue))

    @override
    def redactions(self) -> dict[str, object]:
        return {**super().redactions(), "callback_url": origin_of(self.callback_url)}


class DeadLetterList(View):
    """Dead letters, the newest first."""

    tasks: list[DeadLetterView]
    next_cursor: str | None
    sampled: bool = optional("Present without a ledger: the list is a sample of the dead-letter queue.")

    @classmethod
    def of(cls, page: DeadLetterPage, queue: str, caller: Caller) -> Self:
        """Return a page of the dead letters of ``queue``, as ``caller`` may see them."""
        tasks = [DeadLetterView.of(dead_letter, queue).visible_to(caller) for dead_letter in page.dead_letters]
        return cls(tasks=tasks, next_cursor=page.next_cursor, sampled=page.sampled)


class DeadLetterDetailsView(DeadLetterView, TaskContentView):
    """A dead letter with its payload, and its attempts since it was last redriven."""

    payload: AnyJson
    body: str = optional("Present where the body of the message is not a task: that body.")
    history: list[AttemptView]
    redacted: bool = redacted()

    @classmethod
    def of_details(cls, details: DeadLetterDetails, queue: str) -> Self:
        """Return ``details`` as clients see them among the dead letters of ``queue``."""
        dead_letter = details.dead_letter
        task = dead_letter.task
        content = {"payload": None, "body": dead_letter.body} if task is None else {"payload": task.payload}
        return cls.model_validate({**_members(dead_letter, queue), **content, "history": details.attempts})

    @override
    def redactions(self) -> dict[str, object]:
        return {**super().redactions(), "body": None}


class RefusalView(View):
    """Why a dead letter was not redriven."""

    id: str
    code: str
    detail: str

    @classmethod
    def of(cls, refusal: RedriveRefusal) -> Self:
        """Return ``refusal`` as clients see it; an error that is not for them is raised."""
        problem = problem_of(refusal.error)
        if problem is None:
            raise refusal.error
        return cls(id=refusal.task_id, code=problem.code, detail=problem.detail)


class RedriveOutcomeView(View):
    """How a redrive of several dead letters ended."""

    matched: int
    redriven: int
    failed: list[RefusalView]
    sampled: bool = optional("Present without a ledger: there may be others that were not looked at.")

    @classmethod
    def of(cls, outcome: RedriveOutcome) -> Self:
        """Return ``outcome`` as clients see it."""
        return cls(
            matched=outcome.matched,
            redriven=outcome.redriven,
            failed=[RefusalView.of(refusal) for refusal in outcome.refused],
            sampled=outcome.sampled,
        )


class RedriveView(View):
    """A redrive in the background, and its progress."""

    id: str
    status: RedriveStatus
    matched: int | None
    redriven: int
    failed: int


class DeadLetterPurgeView(View):
    """How many dead letters were deleted; `null` where the backend does not say."""

    purged: int | None


def _members(dead_letter: DeadLetter, queue: str) -> dict[str, object]:
    task = dead_letter.task
    return {
        "id": dead_letter.task_id,
        "type": task and task.type,
        "failure_reason": dead_letter.failure_reason,
        "failed_at": dead_letter.failed_at,
        # A dead letter whose queue is not known is stored under the name of its dead-letter queue.
        "original_queue": queue if dead_letter.queue == queue else None,
        "attempts": dead_letter.attempts,
        "response_status": dead_letter.response_status,
        "redrive_count": dead_letter.redrive_count,
        "priority": task and task.priority,
        "metadata": task and task.metadata,
        "created_at": task and task.created_at,
        "max_retries": task and task.max_retries,
        "callback_url": task and task.callback_url,
        "group": task and task.group,
    }
