"""Claims idempotency keys and deduplication ids."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.bulk import Bulk, Row, clean
from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.engine.group_commit import GroupCommit
from mcp_queue.adapters.ledger.engine.write_behind import WriteBehind, WriteBehindBuffer
from mcp_queue.domain.enqueueing.claims import CLAIM_HOLD, Claimed, ClaimOutcome, ClaimRequest, StoredClaim, outcome
from mcp_queue.domain.task_states import microseconds, moment
from mcp_queue.ports import Clock, IdempotencyStore, LedgerMetrics

# The status of a claim whose task was accepted, as its client is told; NULL until then.
_CONFIRMED = 202
_KEY: Mapping[str, str] = {"kind": "text", "queue": "text", "key": "text"}

# One statement, so that of any number of requests at the same moment one wins. An expired key begins anew; a claim
# that was neither confirmed nor freed in time is taken over with its task id, since its task may have been sent.
_CLAIM = Bulk(
    {**_KEY, "request_hash": "text", "task_id": "text", "claimed_at": "bigint", "expires_at": "bigint"},
    "INSERT INTO claims (kind, queue, key, request_hash, task_id, token, claimed_at, expires_at) "  # noqa: S608  # a constant
    "SELECT kind, queue, key, request_hash, task_id, task_id, claimed_at, expires_at FROM batch WHERE true "
    "ON CONFLICT (kind, queue, key) DO UPDATE SET "
    "task_id = CASE WHEN claims.expires_at <= excluded.claimed_at THEN excluded.task_id ELSE claims.task_id END, "
    "request_hash = excluded.request_hash, token = excluded.token, claimed_at = excluded.claimed_at, "
    "expires_at = excluded.expires_at, status = NULL, body = NULL "
    "WHERE claims.expires_at <= excluded.claimed_at OR (claims.status IS NULL "
    "AND claims.request_hash = excluded.request_hash "
    f"AND claims.claimed_at <= excluded.claimed_at - {CLAIM_HOLD.seconds * 1_000_000})",
)
_STORED = Bulk(
    _KEY,
    "SELECT claims.kind, claims.queue, claims.key, claims.request_hash, claims.task_id, claims.token, "
    "claims.claimed_at, claims.status, claims.body FROM batch JOIN claims "
    "ON claims.kind = batch.kind AND claims.queue = batch.queue AND claims.key = batch.key",
)
# Whoever was taken over confirms the same task.
_CONFIRM = Bulk(
    {**_KEY, "task_id": "text", "status": "integer", "body": "bytea", "expires_at": "bigint"},
    "UPDATE claims SET status = batch.status, body = batch.body, expires_at = batch.expires_at FROM batch "
    "WHERE claims.kind = batch.kind AND claims.queue = batch.queue AND claims.key = batch.key "
    "AND claims.task_id = batch.task_id AND claims.status IS NULL",
)
_FREE = Bulk(
    {**_KEY, "token": "text"},
    "DELETE FROM claims WHERE claims.status IS NULL "
    "AND (kind, queue, key, token) IN (SELECT kind, queue, key, token FROM batch)",
)


class SqlIdempotencyStore(IdempotencyStore):
    """The ``IdempotencyStore`` of a database."""

    def __init__(self, database: Database, buffer: WriteBehindBuffer, *, clock: Clock, metrics: LedgerMetrics) -> None:
        """Keep confirmations that cannot be written in ``buffer``."""
        self._database = database
        self._clock = clock
        self._claims: GroupCommit[ClaimRequest, ClaimOutcome] = GroupCommit(self._claim)
        self._confirmations: WriteBehind[Row] = WriteBehind(
            self._confirm, _size_of, database=database, buffer=buffer, metrics=metrics
        )
        self._refusals: WriteBehind[Row] = WriteBehind(
            self._free, _size_of, database=database, buffer=buffer, metrics=metrics
        )

    @override
    async def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        return await self._claims.submit(requests)

    @override
    async def confirm(self, claims: Sequence[tuple[Claimed, bytes]]) -> None:
        now = self._clock.now()
        await self._confirmations.submit(
            [
                (*_key(claim), claim.task_id, _CONFIRMED, answer, microseconds(now + claim.kind.lifetime))
                for claim, answer in claims
            ]
        )

    @override
    async def free(self, claims: Sequence[Claimed]) -> None:
        await self._refusals.submit([(*_key(claim), claim.token) for claim in claims])

    async def aclose(self) -> None:
        """Return when everything that waits is written, kept or refused."""
        for writes in (self._claims, self._confirmations, self._refusals):
            await writes.aclose()

    async def _claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        now = self._clock.now()
        first: dict[tuple[str, str, str], ClaimRequest] = {}
        for request in requests:
            first.setdefault(_key(request), request)

        async def claim(connection: AsyncConnection) -> list[Row]:
            rows = [
                (
                    *key,
                    request.request_hash,
                    request.task_id,
                    microseconds(now),
                    microseconds(now + request.kind.lifetime),
                )
                for key, request in sorted(first.items())
            ]
            await self._database.bulk(connection, _CLAIM, rows)
            return await self._database.bulk(connection, _STORED, sorted(first))

        stored = {_row_key(row): _stored(row) for row in await self._database.write(claim, "claim")}
        return [outcome(request, stored[_key(request)], now) for request in requests]

    async def _confirm(self, rows: Sequence[Row]) -> None:
        await self._change(_CONFIRM, rows, "confirm")

    async def _free(self, rows: Sequence[Row]) -> None:
        await self._change(_FREE, rows, "free")

    async def _change(self, statement: Bulk, rows: Sequence[Row], operation: str) -> None:
        each = {row[:3]: row for row in rows}
        await self._database.write_alone(statement, [each[key] for key in sorted(each, key=str)], operation)


def _key(claim: ClaimRequest | Claimed) -> tuple[str, str, str]:
    return claim.kind.value, cast("str", clean(claim.queue)), cast("str", clean(claim.key))


def _row_key(row: Row) -> tuple[str, str, str]:
    kind, queue, key, *_ = cast("tuple[Any, ...]", row)
    return kind, queue, key


def _stored(row: Row) -> StoredClaim:
    _, _, _, request_hash, task_id, token, claimed_at, status, body = cast("tuple[Any, ...]", row)
    return StoredClaim(
        request_hash=request_hash,
        task_id=task_id,
        token=token,
        claimed_at=moment(claimed_at),
        answer=None if status is None else body,
    )


def _size_of(row: Row) -> int:
    return 512 + sum(len(value) for value in row if isinstance(value, str | bytes))
