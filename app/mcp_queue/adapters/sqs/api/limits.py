"""The limits of SQS, checked here because emulators accept what SQS refuses.

Sources: the API reference of SendMessage, ChangeMessageVisibility and SendMessageBatch, and the quotas page of the
developer guide.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from mcp_queue.domain.errors import InvalidTaskError, VisibilityTimeoutError
from mcp_queue.domain.queues import MAX_LEASE, MAX_SQS_DELAY, QueueTraits

MAX_MESSAGE_BYTES: Final = 1_048_576
MAX_BATCH_ENTRIES: Final = 10
MAX_ATTRIBUTES: Final = 10
MAX_WAIT: Final = timedelta(seconds=20)
#: Room kept free in what is first sent, so that a retry, or a dead letter with its reason, always fits.
RESERVE_BYTES: Final = 8192
#: A standard queue without a redrive policy. A receive that does not wait asks only some of the servers; PurgeQueue is
#: allowed once in 60 s, and drops what arrives meanwhile.
TRAITS: Final = QueueTraits(
    leaves_stale_copies=True,
    max_delay=MAX_SQS_DELAY,
    reports_duplicates=False,
    purge_time=timedelta(seconds=60),
    full_receive_wait=timedelta(seconds=1),
    moves_all_back=True,
    counts_by_source=False,
)

# The 12 hours run from the receive, which SQS saw a moment before we count from: 43,195 s right after it is accepted.
_LEASE_MARGIN = timedelta(seconds=5)
_REFUSED_CHARACTER = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATTRIBUTE_NAME = re.compile(r"(?!(?i:aws|amazon)\.)(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)")
# Dead letters, digits and punctuation of ASCII: what MessageGroupId and MessageDeduplicationId may hold.
_ID = re.compile(r"[!-~]{1,128}")


def whole_seconds(duration: timedelta) -> int:
    """Return ``duration`` in whole seconds, rounded up, since SQS takes no fractions; a negative one is 0."""
    return max(0, math.ceil(duration.total_seconds()))


def delay_seconds(delay: timedelta) -> int:
    """Return ``DelaySeconds`` for ``delay``: at most the 900 s that SQS holds a message, the rest being hops."""
    return whole_seconds(min(delay, MAX_SQS_DELAY))


def lease_seconds(lease: timedelta, held: timedelta) -> int:
    """Return ``VisibilityTimeout`` for a message received ``held`` ago.

    Raises:
        VisibilityTimeoutError: ``lease`` is more than is left of 12 h from the receive, or more than SQS knows.

    """
    if lease > lease_left(held):
        message = f"only {lease_left(held)} are left of the 12 hours that SQS hides a message"
        raise VisibilityTimeoutError(message)
    return whole_seconds(lease)


def lease_left(held: timedelta) -> timedelta:
    """Return how much longer SQS can hide a message that was received ``held`` ago."""
    return max(timedelta(0), MAX_LEASE - _LEASE_MARGIN - held)


def refuse_characters(text: str) -> None:
    """Check that SQS takes ``text`` as a body.

    Raises:
        InvalidTaskError: it is empty or holds a character that SQS refuses.

    """
    if not text:
        raise InvalidTaskError("SQS takes no empty message")
    if found := _refused(text):
        message = f"SQS refuses the character U+{ord(found):04X}"
        raise InvalidTaskError(message)


def clean(text: str) -> str:
    """Return ``text`` with each character that SQS refuses replaced by U+FFFD."""
    return _REFUSED_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)


def acceptable(text: str) -> bool:
    """Whether SQS takes ``text`` as the value of an attribute."""
    return bool(text) and not _refused(text)


def refuse_attributes(names: Mapping[str, object]) -> None:
    """Check the names and the number of message attributes.

    Raises:
        InvalidTaskError: there are more than 10, or one has a name that SQS refuses.

    """
    if len(names) > MAX_ATTRIBUTES:
        message = f"SQS takes {MAX_ATTRIBUTES} message attributes, not {len(names)}"
        raise InvalidTaskError(message)
    for name in names:
        if not _ATTRIBUTE_NAME.fullmatch(name):
            message = f"SQS refuses a message attribute named {name[:300]!r}"
            raise InvalidTaskError(message)


def valid_id(text: str | None) -> str | None:
    """Return ``text`` where it may be a ``MessageGroupId``, else ``None``."""
    return text if text is not None and _ID.fullmatch(text) else None


def fifo_id(text: str) -> str:
    """Return ``text`` as the id of a group or a deduplication: its SHA-256 where SQS refuses the text itself."""
    return text if _ID.fullmatch(text) else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _refused(text: str) -> str | None:
    if text.isascii() and text.isprintable():  # as our own bodies are; the search takes 10 ms for the largest of them
        return None
    found = _REFUSED_CHARACTER.search(text)
    return found and found[0]
