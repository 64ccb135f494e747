"""How values are written."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_queue.config.schema.values import format_duration, hide_credentials, sqs_queue_name
from mcp_queue.domain.formats.durations import parse_duration


@given(st.integers(min_value=0, max_value=400 * 86_400_000))
def test_a_duration_is_read_as_it_was_written(milliseconds: int) -> None:
    """Nothing is lost between writing and reading."""
    duration = timedelta(milliseconds=milliseconds)

    assert duration == parse_duration(format_duration(duration))


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0s"), (0.1, "100ms"), (300, "5m"), (5400, "1h30m"), (604_800, "7d")]
)
def test_a_duration_is_written_in_the_largest_units(seconds: float, expected: str) -> None:
    """People think in minutes and days."""
    assert expected == format_duration(timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com:8080/a@b", "https://example.com:****@b"),
        ("https://example.com:8080/path", "https://example.com:8080/path"),
        ("https://queue:secret@db/x", "https://queue:****@db/x"),
        ("https://token@db/x?page=2", "https://****@db/x?page=2"),
        ("db?sslpassword=a&user=b", "db?sslpassword=****&user=b"),
        ("arn:aws:sqs:eu-central-1:123456789012:tasks", "arn:aws:sqs:eu-central-1:123456789012:tasks"),
    ],
)
def test_credentials_in_urls_are_hidden(url: str, expected: str) -> None:
    """Where a URL leaves a doubt, rather too much is hidden than too little."""
    assert expected == hide_credentials(url)


@pytest.mark.parametrize(
    "url",
    ["https://sqs.eu-central-1.amazonaws.com/1/a.fifo", "arn:aws-cn:sqs:cn-north-1:123456789012:a.fifo", "a.fifo"],
)
def test_the_name_of_an_sqs_queue_is_found_in_all_its_spellings(url: str) -> None:
    """The name tells the kind."""
    assert "a.fifo" == sqs_queue_name(url)
