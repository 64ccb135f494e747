"""Defines API keys: their scopes, their queues, and how a secret is looked up."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest

from mcp_queue.domain.operators.rates import RateLimit

#: Begins every key, so that scanners for leaked secrets recognise it.
PREFIX = "mcpq_"
#: Length of a key's random part, in bytes.
SECRET_BYTES = 32


class KeyScope(StrEnum):
    """An action that a key allows."""

    ENQUEUE = "enqueue"  #: submit tasks
    READ = "read"  #: see everything but the content of tasks
    PAYLOADS = "payloads"  #: with ``read``: see the content of tasks too
    OPERATE = "operate"  #: cancel, pause, redrive, delete dead letters, change schedules
    ADMIN = "admin"  #: all of these, and purge queues, and read the audit log


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request. It may use ``queues`` only; ``None`` means all."""

    name: str
    scopes: frozenset[KeyScope]
    queues: frozenset[str] | None = None

    def may(self, scope: KeyScope) -> bool:
        """Whether the caller has ``scope``."""
        return scope in self.scopes or KeyScope.ADMIN in self.scopes

    def reaches(self, queue: str | None) -> bool:
        """Whether the caller may use ``queue``; ``None``, for what belongs to no queue, needs access to all."""
        return self.queues is None or queue in self.queues


#: Every sender, where no key is asked for.
ANONYMOUS = Caller("anonymous", frozenset(KeyScope))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A configured key: ``digest`` is that of its secret, which is stored nowhere."""

    caller: Caller
    digest: bytes = field(repr=False)
    expires_at: datetime | None = None
    rate_limit: RateLimit | None = None


def digest_of(secret: bytes) -> bytes:
    """Return the stored form of a key.

    One round of SHA-256 is enough: a slow hash protects secrets that can be guessed, and a key is 256 random bits. A
    slow hash would also let senders of wrong keys consume our processor time cheaply.
    """
    return sha256(secret).digest()


class KeyRing:
    """The accepted keys. Several may have the same name, so that one can replace another."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = {key.digest: key for key in keys}

    def find(self, secret: bytes) -> ApiKey | None:
        """Return the key of ``secret``, which may have expired.

        The time it takes reveals nothing: the lookup is by digest, whose bytes a sender cannot choose, and the final
        comparison takes constant time.
        """
        digest = digest_of(secret)
        key = self._keys.get(digest)
        return key if key is not None and compare_digest(key.digest, digest) else None
