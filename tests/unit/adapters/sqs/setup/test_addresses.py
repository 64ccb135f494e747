"""Where a queue is, as its address says."""

import pytest

from mcp_queue.adapters.sqs.setup.addresses import QueueAddress, address_of, region_of

WEST = QueueAddress("work", "us-west-2", "111122223333")


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:sqs:us-west-2:111122223333:work",
        "https://sqs.us-west-2.amazonaws.com/111122223333/work",
        "https://sqs-fips.us-west-2.amazonaws.com/111122223333/work",
        "https://us-west-2.queue.amazonaws.com/111122223333/work",
        "https://vpce-1.sqs.us-west-2.vpce.amazonaws.com/111122223333/work",
        "https://sqs.us-west-2.api.aws/111122223333/work",
    ],
)
def test_arns_and_urls_of_aws_say_region_and_account(text: str) -> None:
    """In every form that AWS gives."""
    assert WEST == address_of(text)


@pytest.mark.parametrize("text", ["work", "http://localhost:4566/000000000000/work", "https://queues.example.com/work"])
def test_names_and_emulators_say_the_name(text: str) -> None:
    """An emulator answers with a region and an account of its own."""
    assert QueueAddress("work") == address_of(text)
    assert address_of(text).same_as(WEST)


def test_the_region_of_queues_is_the_first_that_one_says() -> None:
    """It is used where no region is set."""
    assert "us-west-2" == region_of(["work", "arn:aws:sqs:us-west-2:111122223333:work"])
    assert region_of(["work"]) is None
