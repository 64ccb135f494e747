"""Decides which request gets an idempotency key or a FIFO deduplication id."""

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
class Replay:
    """The key's task was accepted before; ``answer`` is what the first request was told."""

    task_id: str
    answer: bytes


@dataclass(frozen=True, slots=True)
class InProgress:
    """The first request is still under way; its claim ends after ``retry_after``."""

    retry_after: timedelta


@dataclass(frozen=True, slots=True)
class KeyReused:
    """The key belongs to another request."""


ClaimOutcome: TypeAlias = Claimed | Replay | InProgress | KeyReused


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClaim:
    """A claim in the ledger; ``token`` is the fresh task id of its request, ``answer`` is set once it is confirmed."""

    request_hash: str
    task_id: str
    token: str
    claimed_at: datetime
    answer: bytes | None = None


def outcome(request: ClaimRequest, stored: StoredClaim, now: datetime) -> ClaimOutcome:
    """Return what ``request`` gets; ``stored`` is the claim on its key after it tried: its own or another's."""
    if stored.request_hash != request.request_hash:
        return KeyReused()
    if stored.answer is not None:
        return Replay(stored.task_id, stored.answer)
    # A fresh id is nobody else's, so this holds also where the answer to the first try of this very claim was lost.
    if stored.token == request.task_id:
        return Claimed(
            kind=request.kind, queue=request.queue, key=request.key, task_id=stored.task_id, token=stored.token
        )
    return InProgress(max(stored.claimed_at + CLAIM_HOLD - now, timedelta(0)))
