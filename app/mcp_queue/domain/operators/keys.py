"""API keys: who may do what, and to which queues."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest

from mcp_queue.domain.operators.rates import RateLimit

#: In front of every key, so that scanners for leaked secrets find it.
PREFIX = "mcpq_"
#: How long a key's random part is, in bytes.
SECRET_BYTES = 32


class KeyScope(StrEnum):
    """What a key is good for."""

    ENQUEUE = "enqueue"  #: put tasks into queues
    READ = "read"  #: look at everything but what is in tasks
    PAYLOADS = "payloads"  #: with ``read``: see what is in tasks, too
    OPERATE = "operate"  #: cancel, pause, redrive, delete dead letters, change schedules
    ADMIN = "admin"  #: all of it, and what is done to whole queues or seen of others: purge and the audit log


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request. ``queues`` are the only ones that it reaches; ``None`` is all."""

    name: str
    scopes: frozenset[KeyScope]
    queues: frozenset[str] | None = None

    def may(self, scope: KeyScope) -> bool:
        """Whether ``scope`` is among what it may do."""
        return scope in self.scopes or KeyScope.ADMIN in self.scopes

    def reaches(self, queue: str | None) -> bool:
        """Whether it reaches ``queue``; what is of no queue is for those who reach all."""
        return self.queues is None or queue in self.queues


#: Whoever comes where nobody is asked for a key.
ANONYMOUS = Caller("anonymous", frozenset(KeyScope))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as the configuration has it: ``digest`` is that of its secret, which nothing remembers."""

    caller: Caller
    digest: bytes = field(repr=False)
    expires_at: datetime | None = None
    rate_limit: RateLimit | None = None


def digest_of(secret: bytes) -> bytes:
    """Return what is stored of a key.

    One round of SHA-256 is enough: a key is 256 random bits, so that there is nothing to guess that a slow hash would
    protect, and a slow one would let whoever sends wrong keys buy time of ours cheaply.
    """
    return sha256(secret).digest()


class KeyRing:
    """Every key that counts; any number of them may have the same name, so that one can replace another."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        """Hold ``keys``."""
        self._keys = {key.digest: key for key in keys}

    def find(self, secret: bytes) -> ApiKey | None:
        """Return the key of ``secret``, which may have expired.

        How long it takes tells nothing: what is looked up is a digest, whose bytes nobody can choose, and the whole
        of it is compared at the end.
        """
        digest = digest_of(secret)
        key = self._keys.get(digest)
        return key if key is not None and compare_digest(key.digest, digest) else None
