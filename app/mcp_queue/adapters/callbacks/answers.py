"""Decides what an HTTP response means for an attempt."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

_RETRYABLE = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_LONGEST_DELAY = timedelta(hours=1)
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+")
# What an answer without a readable Content-Type is (RFC 9110, section 8.3).
_UNKNOWN_TYPE = "application/octet-stream"


def succeeded(status: int) -> bool:
    """Whether the receiver took the request."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def may_succeed_later(status: int) -> bool:
    """Whether the same request may be taken another time."""
    return status in _RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def media_type(content_type: str | None) -> str:
    """Return the media type that a ``Content-Type`` header names, without parameters and in lower case."""
    named = (content_type or "").partition(";")[0].strip().lower()
    return named if _MEDIA_TYPE.fullmatch(named) else _UNKNOWN_TYPE


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Return the delay that a ``Retry-After`` header asks for (RFC 9110, section 10.2.3), at most an hour.

    ``None`` where it asks for nothing that can be read, or for no delay at all.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Ten digits are 300 years; more would overflow.
        return min(timedelta(seconds=int(text[:10])), _LONGEST_DELAY) or None
    try:
        moment = parsedate_to_datetime(text)
        delay = moment.replace(tzinfo=moment.tzinfo or UTC) - now
    except (ValueError, OverflowError):
        return None
    return min(delay, _LONGEST_DELAY) if delay > timedelta(0) else None
