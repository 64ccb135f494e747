"""Parses the values of settings from text, and formats them as text.

Every parser raises ``ValueError`` with a message that reads well behind ``KEY: ``.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from mcp_queue.domain.callbacks.headers import is_header_name, is_header_value
from mcp_queue.domain.callbacks.signatures import parse_secret
from mcp_queue.domain.formats.durations import parse_duration


def format_duration(value: timedelta) -> str:
    """Return ``value`` as ``parse_duration`` reads it, in the largest units that lose nothing: ``1h30m``."""
    rest = round(value / timedelta(milliseconds=1))
    if rest == 0:
        return "0s"
    parts: list[str] = []
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _duration(value: object) -> object:
    try:
        return parse_duration(value)
    except ValueError as error:
        message = f"{error}, not {value!r}"
        raise ValueError(message) from error


def _number(value: object) -> object:
    # Python counts True as 1, but "yes" in place of a number is a mistake.
    if isinstance(value, bool):
        raise ValueError("expected a number")  # noqa: TRY004  # pydantic reports a ValueError only
    return value


def _lower(value: object) -> object:
    """Return a text in lower case: ``LOG_LEVEL=INFO`` is what most people write."""
    return value.lower() if isinstance(value, str) else value


def text_of(pattern: str, expected: str) -> AfterValidator:
    """Return a validator that accepts texts that match ``pattern``; its message says what was ``expected``."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            message = f"expected {expected}, not {value!r}"
            raise ValueError(message)
        return value

    return AfterValidator(check)


def _words(value: object) -> object:
    """Split a text at commas and white space: lists in environment variables."""
    return tuple(re.split(r"[,\s]+", value.strip(", \t\n"))) if isinstance(value, str) and value.strip(", ") else value


def _retention(value: object) -> object:
    return None if value == "never" else _duration(value)


def _network(value: object) -> object:
    try:
        return ip_network(str(value))
    except ValueError as error:
        message = f"{str(value)!r} is no network such as 10.0.0.0/8 ({error})"
        raise ValueError(message) from error


def _http_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  # reading it is what checks it
    except ValueError as error:
        message = f"{value!r} is no URL ({error})"
        raise ValueError(message) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"\s", value):
        message = f"{value!r} is no http or https URL"
        raise ValueError(message)
    return value


def _signing_secret(value: object) -> object:
    if isinstance(value, str):
        parse_secret(value)
    return value


#: These come after the bounds in an annotation: they parse the text, then the bounds check the value.
AsDuration = BeforeValidator(_duration)
AsNumber = BeforeValidator(_number)
AsRetention = BeforeValidator(_retention)
AsWords = BeforeValidator(_words)
AsLowerCase = BeforeValidator(_lower)

Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
HttpUrl = Annotated[str, BeforeValidator(_http_url)]
SigningSecret = Annotated[SecretStr, BeforeValidator(_signing_secret)]

_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}(\.fifo)?")
_ARN = re.compile(r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:(?P<name>.+)")


def _sqs_queue(value: object) -> object:
    if not isinstance(value, str):
        return value
    if "://" in value:
        _http_url(value)
    name = sqs_queue_name(value)
    if _QUEUE_NAME.fullmatch(name) is None:
        message = f"{value!r} is no SQS queue URL, ARN (arn:aws:sqs:region:account:name) or queue name"
        raise ValueError(message)
    return value


def sqs_queue_name(url: str) -> str:
    """Return the queue's name, given its URL, its ARN or its name."""
    if "://" in url:
        return url.rstrip("/").rpartition("/")[2]
    arn = _ARN.fullmatch(url)
    return arn["name"] if arn else url


SqsQueue = Annotated[str, BeforeValidator(_sqs_queue)]

#: Headers that belong to the connection, or that every callback already has.
_OWN_HEADERS = frozenset({
    "host", "connection", "content-length", "content-type", "transfer-encoding", "traceparent",
    "webhook-id", "webhook-timestamp", "webhook-signature",
})  # fmt: skip


def _headers(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    for name, text in value.items():
        if not isinstance(name, str) or not is_header_name(name):
            message = f"{name!r} is no header name"
            raise ValueError(message)
        if name.lower() in _OWN_HEADERS or name.lower().startswith("x-task-"):
            message = f"{name} is a header that callbacks carry by themselves"
            raise ValueError(message)
        if not isinstance(text, str) or not is_header_value(text):
            message = f"the value of {name} is not printable ASCII text"
            raise ValueError(message)
    return value


Headers = Annotated[Mapping[str, SecretStr], BeforeValidator(_headers)]


_PASSWORD = re.compile(r"(://[^:/@]*:).*@")
_TOKEN = re.compile(r"(://)[^:/?#@]*@")
_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:password|secret|token|key|signature)[^=&]*=)[^&#]*", re.IGNORECASE)


def hide_credentials(url: str) -> str:
    """Return ``url``, which may be invalid, without its password and secret parameters.

    A password may hold unescaped slashes and ``@``, so it hides too much rather than too little.
    """
    without_password = _TOKEN.sub(r"\1****@", _PASSWORD.sub(r"\1****@", url))
    return _SECRET_PARAMETER.sub(r"\1****", without_password)
