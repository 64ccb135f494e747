"""Checks who makes a request, and what their key allows."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import ceil
from typing import NamedTuple

from mcp_queue.domain.operators.keys import ANONYMOUS, ApiKey, Caller, KeyRing, KeyScope
from mcp_queue.domain.operators.rates import Quota, TokenBucket
from mcp_queue.gateway.problems import Problem, RequestRefusedError
from mcp_queue.ports import Clock

#: Where monitoring asks for the state of the process. It has to get an answer from an overloaded process too.
SERVICE_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
# The name that means this machine alone (RFC 6761), or a loopback address, and a port.
_LOCAL = re.compile(rb"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]*)?")


class Admitted(NamedTuple):
    """Who makes a request that was let in, and what is left of the rate of their key, if it has one."""

    caller: Caller
    quota: Quota | None = None


_ANONYMOUS = Admitted(ANONYMOUS)
#: Stands in until the request is let in.
UNAUTHENTICATED = Admitted(Caller("unauthenticated", frozenset(), frozenset()))


class Authenticator:
    """Lets in requests that come with a known API key, or every request if no keys are configured."""

    def __init__(
        self, keys: Sequence[ApiKey] | None = None, *, guards_service: bool = False, local: bool = False
    ) -> None:
        """Ask for one of ``keys``; with ``guards_service``, for the health and metrics of the process too.

        Without keys, ``local`` lets in only what calls this machine by a loopback address: a page in a browser here
        may name any other host that leads to it, and comes from that host.
        """
        self._ring = None if keys is None else KeyRing(keys)
        self._local = local
        self._open = frozenset({"/docs", "/openapi.json"}) | (frozenset() if guards_service else SERVICE_PATHS)
        # By the digest of the key, so that reloading the keys does not fill the buckets again.
        self._buckets: dict[bytes, TokenBucket] = {}

    def change_keys(self, keys: Sequence[ApiKey]) -> None:
        """Ask for one of ``keys`` from now on. An empty list refuses every request."""
        self._ring = KeyRing(keys)
        limits = {key.digest: key.rate_limit for key in keys}
        self._buckets = {digest: b for digest, b in self._buckets.items() if b.limit == limits.get(digest)}

    def admit(self, path: str, headers: Mapping[bytes, bytes], clock: Clock) -> Admitted:
        """Return who makes a request.

        Raises:
            RequestRefusedError: 401, it has no valid key; 429, its key was used too often; or, without keys, 403, it
                does not come from this machine.

        """
        if self._ring is None:
            if self._local:
                _check_local(headers)
            return _ANONYMOUS
        if path in self._open:
            return _ANONYMOUS
        secret = _secret(headers)
        key = None if secret is None else self._ring.find(secret)
        if key is None or (key.expires_at is not None and key.expires_at <= clock.now()):
            raise _unauthenticated(given=secret is not None)
        if key.rate_limit is None:
            return Admitted(key.caller)
        return Admitted(key.caller, self._take(key, clock.monotonic()))

    def _take(self, key: ApiKey, now: float) -> Quota:
        assert key.rate_limit is not None
        bucket = self._buckets.get(key.digest)
        if bucket is None:
            bucket = self._buckets[key.digest] = TokenBucket(key.rate_limit, now)
        quota = bucket.take(now)
        if quota.wait:
            raise _rate_limited(quota)
        return quota


def check_scope(caller: Caller, scope: KeyScope) -> None:
    """Check that ``caller`` may do what ``scope`` is for.

    Raises:
        RequestRefusedError: 403, it may not.

    """
    if not caller.may(scope):
        detail = f"this key is without the scope {scope.value!r}"
        raise _forbidden(detail)


def check_queue(caller: Caller, queue: str | None) -> None:
    """Check that ``caller`` reaches ``queue``, whether or not there is a queue of that name.

    Raises:
        RequestRefusedError: 403, its key is bound to other queues.

    """
    if not caller.reaches(queue):
        raise _forbidden("this key is for other queues")


def quota_headers(quota: Quota) -> dict[str, str]:
    """Return the headers that say how many requests a key has left (draft-ietf-httpapi-ratelimit-headers-10)."""
    limit = quota.limit
    return {
        "RateLimit-Policy": f'"key";q={limit.burst};w={limit.window}',
        "RateLimit": f'"key";r={quota.remaining};t={ceil(quota.full_after)}',
    }


def _check_local(headers: Mapping[bytes, bytes]) -> None:
    host, origin = headers.get(b"host"), headers.get(b"origin")
    named = host is None or _LOCAL.fullmatch(host.lower())
    # Browsers send no Origin with what they read for another site's page, but they send Sec-Fetch-Site.
    foreign = headers.get(b"sec-fetch-site", b"none") not in {b"none", b"same-origin"}
    if not named or foreign or (origin is not None and origin.partition(b"://")[2] != host):
        detail = "without API keys only programs on this machine come in, by its loopback address"
        raise _forbidden(detail)


def _secret(headers: Mapping[bytes, bytes]) -> bytes | None:
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    # A proxy in front of the gateway may use this header itself: then the key comes in the other one.
    return credentials.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key")


def _unauthenticated(*, given: bool) -> RequestRefusedError:
    detail = "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
    challenge = 'Bearer realm="mcp-queue"'
    if given:
        detail, challenge = "this key is not known, or no more", challenge + ', error="invalid_token"'
    return RequestRefusedError(Problem(code="unauthenticated", detail=detail, headers={"WWW-Authenticate": challenge}))


def _forbidden(detail: str) -> RequestRefusedError:
    return RequestRefusedError(Problem(code="forbidden", detail=detail))


def _rate_limited(quota: Quota) -> RequestRefusedError:
    return RequestRefusedError(
        Problem(
            code="rate_limited",
            detail=f"this key may make {quota.limit.per_second:g} requests a second",
            retry_after=timedelta(seconds=quota.wait),
            headers=quota_headers(quota),
        )
    )
