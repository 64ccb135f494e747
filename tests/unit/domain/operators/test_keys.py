"""API keys: who may do what."""

from hashlib import sha256

import pytest

from mcp_queue.domain.operators.keys import ANONYMOUS, ApiKey, Caller, KeyRing, KeyScope, digest_of


def key(secret: bytes, name: str = "ci") -> ApiKey:
    """Return the key of ``secret``."""
    return ApiKey(caller=Caller(name, frozenset({KeyScope.READ})), digest=digest_of(secret))


def test_what_is_stored_is_the_sha256_of_the_whole_key() -> None:
    """Anybody can make the line of a key without this program."""
    assert sha256(b"mcpq_secret").digest() == digest_of(b"mcpq_secret")


def test_key_is_found_by_its_secret_alone() -> None:
    """Knowing the digest, as whoever reads the file does, is no use."""
    one, two = key(b"one"), key(b"two", "other")
    ring = KeyRing([one, two])

    assert [one, two] == [ring.find(b"one"), ring.find(b"two")]
    for wrong in (b"", b"three", two.digest, two.digest.hex().encode(), b"sha256:" + two.digest.hex().encode()):
        assert ring.find(wrong) is None


def test_keys_that_replace_each_other_count_at_once() -> None:
    """Two of one name: there is no moment in which neither is right."""
    ring = KeyRing([key(b"old"), key(b"new")])

    assert ["ci", "ci"] == [found.caller.name for found in map(ring.find, (b"old", b"new")) if found]


def test_digest_does_not_stand_where_keys_are_shown() -> None:
    """A key in a log line or a traceback tells its holder and nothing more."""
    assert "digest" not in repr(key(b"one"))


@pytest.mark.parametrize("scope", KeyScope)
def test_scope_gives_what_it_names_and_nothing_else(scope: KeyScope) -> None:
    """No scope contains another, but for admin, which contains them all."""
    allowed = {other for other in KeyScope if Caller("ci", frozenset({scope})).may(other)}

    assert (set(KeyScope) if scope is KeyScope.ADMIN else {scope}) == allowed


def test_bound_caller_reaches_its_queues_only() -> None:
    """What is of no queue, such as a destination, is beyond it too."""
    bound = Caller("ci", frozenset({KeyScope.ADMIN}), frozenset({"tasks"}))

    assert [True, False, False] == [bound.reaches(queue) for queue in ("tasks", "orders", None)]
    assert [True, True] == [ANONYMOUS.reaches(queue) for queue in ("tasks", None)]
