"""Whom tasks call, how much of it a destination takes, and what a call's end says about it."""

import pytest

from mcp_queue.domain.callbacks.destinations import (
    DestinationLimits,
    LimitRule,
    Target,
    call_failed,
    canonical_name,
    limits_of,
    target_of,
)
from mcp_queue.domain.errors import (
    AttemptTimeoutError,
    CallbackFailedError,
    CallbackRejectedError,
    RefusedAddressError,
    RetryableError,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.example.com/v1/tasks?key=1", "https://api.example.com:443"),
        ("HTTPS://API.Example.COM.:443/", "https://api.example.com:443"),
        ("http://api.example.com", "http://api.example.com:80"),
        ("http://10.0.0.1:8080/", "http://10.0.0.1:8080"),
        ("http://[0:0::1]:81/", "http://[::1]:81"),
    ],
)
def test_a_destination_is_scheme_host_and_port(url: str, expected: str) -> None:
    """However the URL is written, and whether or not it may be called."""
    target = target_of(url)

    assert target is not None
    assert expected == target.name == canonical_name(url)


@pytest.mark.parametrize("url", ["http://0x7f.1/", "http://u:p@example.com/", "ftp://example.com/", "//example.com"])
def test_a_url_that_is_never_called_has_no_destination(url: str) -> None:
    """Its task fails by itself."""
    assert target_of(url) is None


def test_a_route_may_name_its_destination() -> None:
    """That name stands for its URL."""
    assert target_of("https://mail.example.com/tasks", "mailer") == Target("mailer", "mail.example.com")
    assert canonical_name("mailer") == "mailer"
    assert canonical_name("mailto://x") is None


def test_limits_of_a_name_come_before_those_of_its_host() -> None:
    """Among hosts the first that fits counts; nothing fits, nothing is limited."""
    rules = [
        LimitRule(limits=DestinationLimits(max_concurrent=1), host="*.example.com"),
        LimitRule(limits=DestinationLimits(max_concurrent=2), host="api.example.com"),
        LimitRule(limits=DestinationLimits(max_concurrent=3), name="https://api.example.com:443"),
        LimitRule(limits=DestinationLimits(max_concurrent=4), host="example.org"),
    ]

    def limit(url: str) -> int | None:
        target = target_of(url)
        assert target is not None
        return limits_of(target, rules).max_concurrent

    urls = ("https://api.example.com/", "http://api.example.com/", "http://example.org/", "http://example.com/")
    assert [3, 1, 4, None] == [limit(url) for url in urls]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, False),
        (CallbackFailedError("answered", response_status=500), True),
        (CallbackFailedError("answered", response_status=503), True),
        (CallbackFailedError("answered", response_status=429), True),
        (CallbackFailedError("no connection, or no answer in time"), True),
        (AttemptTimeoutError("took too long"), True),
        (CallbackFailedError("answered", response_status=408), False),
        (CallbackFailedError("answered", response_status=425), False),
        (CallbackRejectedError("answered", 404), False),
        (CallbackRejectedError("answered", 302), False),
        (CallbackRejectedError("cannot be sent over HTTP"), None),
        (RefusedAddressError("a private address"), None),
        (RetryableError("a handler's own reason"), None),
        (KeyboardInterrupt(), None),
    ],
)
def test_only_a_destinations_own_failures_speak_against_it(
    error: BaseException | None, *, expected: bool | None
) -> None:
    """A 4xx finds fault with the task, and what was never sent says nothing."""
    assert expected is call_failed(error)
