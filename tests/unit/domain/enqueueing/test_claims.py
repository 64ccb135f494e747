"""What a request gets for its key."""

from datetime import UTC, datetime, timedelta

import pytest

from mcp_queue.domain.enqueueing.claims import (
    Claimed,
    ClaimKind,
    ClaimOutcome,
    ClaimRequest,
    InProgress,
    KeyReused,
    Replay,
    StoredClaim,
    outcome,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = ClaimRequest(kind=ClaimKind.IDEMPOTENCY, queue="q", key="k", task_id="mine", request_hash="h")
ANSWER = b"{}"


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (
            StoredClaim(request_hash="h", task_id="mine", token="mine", claimed_at=NOW),
            Claimed(kind=ClaimKind.IDEMPOTENCY, queue="q", key="k", task_id="mine", token="mine"),
        ),
        (
            StoredClaim(request_hash="h", task_id="first", token="mine", claimed_at=NOW),
            Claimed(kind=ClaimKind.IDEMPOTENCY, queue="q", key="k", task_id="first", token="mine"),
        ),
        (
            StoredClaim(request_hash="h", task_id="first", token="first", claimed_at=NOW - timedelta(seconds=12)),
            InProgress(timedelta(seconds=18)),
        ),
        (
            StoredClaim(request_hash="h", task_id="first", token="first", claimed_at=NOW - timedelta(hours=1)),
            InProgress(timedelta(0)),
        ),
        (
            StoredClaim(request_hash="h", task_id="first", token="first", claimed_at=NOW, answer=ANSWER),
            Replay("first", ANSWER),
        ),
        (StoredClaim(request_hash="other", task_id="first", token="first", claimed_at=NOW, answer=ANSWER), KeyReused()),
        (StoredClaim(request_hash="other", task_id="first", token="first", claimed_at=NOW), KeyReused()),
    ],
)
def test_outcome_follows_from_the_stored_claim(stored: StoredClaim, expected: ClaimOutcome) -> None:
    """Own claims, claims taken over, others' claims, answers and foreign requests are told apart."""
    assert expected == outcome(REQUEST, stored, NOW)


def test_keys_live_a_day_and_deduplication_ids_five_minutes() -> None:
    """As the contract and SQS have it."""
    assert timedelta(hours=24) == ClaimKind.IDEMPOTENCY.lifetime
    assert timedelta(minutes=5) == ClaimKind.DEDUPLICATION.lifetime
