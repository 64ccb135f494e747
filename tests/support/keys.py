"""API keys for tests."""

from datetime import datetime

from mcp_queue.domain.operators.keys import ApiKey, Caller, KeyScope, digest_of
from mcp_queue.domain.operators.rates import RateLimit


def api_key(
    secret: str,
    *scopes: KeyScope,
    name: str = "ci",
    queues: set[str] | None = None,
    expires_at: datetime | None = None,
    rate_limit: RateLimit | None = None,
) -> ApiKey:
    """Return the key whose secret is ``secret``."""
    return ApiKey(
        caller=Caller(name, frozenset(scopes), None if queues is None else frozenset(queues)),
        digest=digest_of(secret.encode()),
        expires_at=expires_at,
        rate_limit=rate_limit,
    )


def bearer(secret: str) -> dict[str, str]:
    """Return the header that shows ``secret``."""
    return {"Authorization": f"Bearer {secret}"}
