"""Claims on idempotency keys and on FIFO deduplication ids: one request wins a key, the others learn of its task."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from mcp_queue.domain.queues import DEDUPLICATION_WINDOW

#: How long an unconfirmed claim is held: longer than any send may take.
CLAIM_HOLD = timedelta(seconds=30)


class ClaimKind(StrEnum):
    """What a key is."""

    IDEMPOTENCY = "idempotency"
    DEDUPLICATION = "deduplication"

    @property
    def lifetime(self) -> timedelta:
        """How long a key is remembered, from its claim and, once confirmed, from that."""
        return DEDUPLICATION_WINDOW if self is ClaimKind.DEDUPLICATION else timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """A wish for ``key`` of ``queue``, by a request whose task gets the fresh id ``task_id``.

    ``request_hash`` tells whether a second request is the same as the first.
    """

    kind: ClaimKind
    queue: str
    key: str
    task_id: str
    request_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The key is held for 30 s: send the task as ``task_id``, which is an earlier claim's where that one lapsed.

    ``token`` tells this claim from those before and after it.
    """

    kind: ClaimKind
    queue: str
    key: str
    task_id: str
    token: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the first request was answered."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Replay:
    """The key's task was accepted before."""

    task_id: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class InProgress:
    """The first request is still under way; its claim ends after ``retry_after``."""

    retry_after: timedelta


@dataclass(frozen=True, slots=True)
class Reused:
    """The key belongs to another request."""


ClaimOutcome: TypeAlias = Claimed | Replay | InProgress | Reused


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A key as it stands in the ledger; ``token`` is the fresh task id of the request that holds or held it."""

    request_hash: str
    task_id: str
    token: str
    claimed_at: datetime
    answer: Answer | None = None


def outcome(request: ClaimRequest, standing: Standing, now: datetime) -> ClaimOutcome:
    """Return what ``request`` gets, ``standing`` being what stands after it tried: its own claim or another's."""
    if standing.request_hash != request.request_hash:
        return Reused()
    if standing.answer is not None:
        return Replay(standing.task_id, standing.answer)
    # A fresh id is nobody else's, so this holds also where the answer to the first try of this very claim was lost.
    if standing.token == request.task_id:
        return Claimed(
            kind=request.kind, queue=request.queue, key=request.key, task_id=standing.task_id, token=standing.token
        )
    return InProgress(max(standing.claimed_at + CLAIM_HOLD - now, timedelta(0)))
