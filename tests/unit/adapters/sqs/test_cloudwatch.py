"""Ages by CloudWatch."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from mcp_queue.adapters.sqs.cloudwatch import CloudWatchAges
from mcp_queue.testing import FakeClock
from tests.support.clock import MINUTE, START
from tests.support.sqs.strict_server import client_error


class CloudWatch:
    """Stands for botocore's client."""

    def __init__(self, *points: tuple[datetime, float]) -> None:
        """Know ``points``."""
        self.points = points
        self.error: Exception | None = None
        self.requests: list[dict[str, Any]] = []

    async def get_metric_statistics(self, **request: Any) -> dict[str, Any]:
        """Answer."""
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return {"Datapoints": [{"Timestamp": moment, "Maximum": value} for moment, value in self.points]}


async def test_the_latest_measurement_counts() -> None:
    """CloudWatch returns them in no order."""
    cloudwatch = CloudWatch((START - MINUTE, 60.0), (START - 3 * MINUTE, 10.0))
    ages = CloudWatchAges(cloudwatch, FakeClock(START))  # type: ignore[arg-type]  # it stands for botocore's
    assert timedelta(seconds=60) == await ages.read("work")
    (request,) = cloudwatch.requests
    assert (START - 5 * MINUTE, START) == (request["StartTime"], request["EndTime"])


async def test_no_measurement_is_no_age() -> None:
    """SQS sends none for a queue that is not in use."""
    ages = CloudWatchAges(CloudWatch(), FakeClock(START))  # type: ignore[arg-type]  # it stands for botocore's
    assert await ages.read("work") is None


async def test_cloudwatch_is_asked_once_a_minute() -> None:
    """Every question is billed."""
    clock, cloudwatch = FakeClock(START), CloudWatch()
    ages = CloudWatchAges(cloudwatch, clock)  # type: ignore[arg-type]  # it stands for botocore's
    for _ in range(3):
        await ages.read("work")
    await ages.read("other")
    await clock.advance(MINUTE)
    await ages.read("work")
    assert ["work", "other", "work"] == [request["Dimensions"][0]["Value"] for request in cloudwatch.requests]


@pytest.mark.parametrize("error", [client_error("AccessDenied"), EndpointConnectionError(endpoint_url="https://x")])
async def test_a_failure_is_no_age(error: Exception) -> None:
    """Statistics do without it."""
    cloudwatch = CloudWatch()
    cloudwatch.error = error
    ages = CloudWatchAges(cloudwatch, FakeClock(START))  # type: ignore[arg-type]  # it stands for botocore's
    assert await ages.read("work") is None
