"""The limits of SQS that emulators do not hold."""

from datetime import timedelta

import pytest

from mcp_queue.adapters.sqs.api import limits
from mcp_queue.domain.errors import InvalidTaskError, VisibilityTimeoutError
from tests.support.clock import HOUR, NOW, SECOND


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [(NOW, 0), (-HOUR, 0), (timedelta(milliseconds=1), 1), (900 * SECOND, 900), (901 * SECOND, 900), (HOUR, 900)],
)
def test_a_delay_is_whole_seconds_up_to_900(delay: timedelta, seconds: int) -> None:
    """Rounded up, so that nothing comes early; what is over the limit is left to another hop."""
    assert seconds == limits.delay_seconds(delay)


def test_a_lease_of_43195_seconds_right_after_the_receive_is_taken() -> None:
    """The longest that SQS's own documentation says works."""
    assert 43_195 == limits.lease_seconds(43_195 * SECOND, NOW)


@pytest.mark.parametrize(
    ("lease", "held"),
    [(43_201 * SECOND, NOW), (43_200 * SECOND, NOW), (2 * HOUR, 11 * HOUR), (SECOND, 12 * HOUR)],
)
def test_a_lease_beyond_twelve_hours_from_the_receive_is_refused(lease: timedelta, held: timedelta) -> None:
    """SQS answers it with an error, and does not shorten it."""
    with pytest.raises(VisibilityTimeoutError):
        limits.lease_seconds(lease, held)


@pytest.mark.parametrize("text", ["a\x00b", "a\x0bb", "\ufffe", "\uffff", "\x1f", "\ud800"])
def test_characters_that_sqs_refuses_are_refused(text: str) -> None:
    """Everything outside of its list, which is that of XML."""
    assert not limits.acceptable(text)
    with pytest.raises(InvalidTaskError, match=r"U\+"):
        limits.refuse_characters(text)
    assert limits.acceptable(limits.clean(text))


@pytest.mark.parametrize("text", ["{}", "a\tb\r\nc", "雪\U0001f600\ue000\ufffd", "\x7f"])
def test_characters_that_sqs_takes_pass(text: str) -> None:
    """Unicode beyond ASCII is no matter."""
    limits.refuse_characters(text)
    assert limits.acceptable(text)


def test_an_empty_body_is_refused() -> None:
    """The least that SQS takes is one character."""
    with pytest.raises(InvalidTaskError, match="empty"):
        limits.refuse_characters("")


def test_more_than_ten_attributes_are_refused() -> None:
    """Emulators take eleven."""
    limits.refuse_attributes(dict.fromkeys("abcdefghij"))
    with pytest.raises(InvalidTaskError, match="not 11"):
        limits.refuse_attributes(dict.fromkeys("abcdefghijk"))


@pytest.mark.parametrize("name", ["", "a b", "AWS.x", "aws.x", "Amazon.x", ".a", "a.", "a..b", "ä", "a" * 257])
def test_attribute_names_that_sqs_refuses_are_refused(name: str) -> None:
    """Its own prefixes and stray dots among them."""
    with pytest.raises(InvalidTaskError):
        limits.refuse_attributes({name: None})


@pytest.mark.parametrize("text", [None, "", "a b", "größe", "a" * 129])
def test_an_id_that_sqs_refuses_is_none(text: str | None) -> None:
    """Groups hold dead letters, digits and punctuation of ASCII."""
    assert limits.valid_id(text) is None


def test_a_deduplication_id_that_sqs_refuses_becomes_its_hash() -> None:
    """SQS only compares these, so that a hash serves as well."""
    assert "task-1.0" == limits.fifo_id("task-1.0")
    for text in ("a b", "größe", "x" * 129, "\ud800"):
        assert 64 == len(limits.fifo_id(text))
