"""What requests about dead letters, and the answers to them, look like."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterFilter, RedriveStatus
from mcp_queue.gateway.resources.schemas import PageQuery, optional, redacted
from mcp_queue.gateway.resources.tasks.schemas import AttemptView
from mcp_queue.services.enqueueing.request import Time, TypeName

MAX_IDS = 1000
MAX_RATE = 10_000

_Type = Annotated[TypeName | None, Field(description="Only tasks of this type.")]
_Reason = Annotated[
    str | None, Field(min_length=1, max_length=1024, description="Only where the reason has this in it, in any case.")
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
    """Dead letters that meet every condition that is there."""

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
        Field(min_length=1, max_length=MAX_IDS, description="Those with these ids, as far as there are any."),
    ] = None
    filter: Annotated[DeadLetterConditions | None, Field(description="Those that it fits.")] = None
    all: Annotated[Literal[True] | None, Field(description="Every one.")] = None
    dry_run: Annotated[bool, Field(description="Only count them.")] = False
    max_per_second: Annotated[
        float | None, Field(ge=0.01, le=MAX_RATE, strict=False, description="Redrive in the background, at this rate.")
    ] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(way is not None for way in (self.ids, self.filter, self.all)) != 1:
            raise ValueError('expected one of the members "ids", "filter" and "all"')
        return self


def dead_letters_of(
    queue: str, chosen: DeadLetterQuery | DeadLetterConditions | None = None, ids: list[str] | None = None
) -> DeadLetterFilter:
    """Return which dead letters of ``queue`` are meant."""
    if chosen is None:
        return DeadLetterFilter(queue=queue, ids=None if ids is None else tuple(ids))
    return DeadLetterFilter(
        queue=queue,
        type=chosen.type,
        reason=chosen.reason,
        failed_after=chosen.failed_after,
        failed_before=chosen.failed_before,
    )


class DeadLetterSummaryView(BaseModel):
    """How many dead letters of a queue wait, and since when; `null` where nobody can tell."""

    queue_name: str
    approximate_messages: int | None
    oldest_failed_at: datetime | None


class DeadLetterView(BaseModel):
    """A dead letter. What only a task has is `null` where the body of the message is none."""

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
    callback_url: str | None
    group: str | None


class DeadLetterList(BaseModel):
    """Dead letters, the newest first."""

    tasks: list[DeadLetterView]
    next_cursor: str | None
    sampled: bool = optional("Present without a ledger: the list is a sample of what lies in the dead-letter queue.")


class DeadLetterDetailsView(DeadLetterView):
    """A dead letter with its payload, and its attempts since it was last redriven."""

    payload: JsonValue
    body: str = optional("Present where the body of the message is no task: that body.")
    history: list[AttemptView]
    redacted: bool = redacted()


class RefusalView(BaseModel):
    """Why a dead letter was not redriven."""

    id: str
    code: str
    detail: str


class RedriveOutcomeView(BaseModel):
    """What became of the dead letters that were meant."""

    matched: int
    redriven: int
    failed: list[RefusalView]
    sampled: bool = optional("Present without a ledger: there may be others that were not looked at.")


class RedriveView(BaseModel):
    """A redrive in the background, and how far it came."""

    id: str
    status: RedriveStatus
    matched: int | None
    redriven: int
    failed: int


class DeadLetterPurgeView(BaseModel):
    """How many dead letters were deleted; `null` where the backend does not say."""

    purged: int | None


class AuditEntryView(BaseModel):
    """What an operator did, to what, and how many things it touched."""

    at: datetime
    actor: str
    action: str
    target: str
    count: int | None


class AuditView(BaseModel):
    """What operators did, the latest first."""

    entries: list[AuditEntryView]
    next_cursor: str | None
