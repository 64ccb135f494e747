"""What a delivery may go through in the consumer."""

from datetime import timedelta

import pytest

from mcp_queue.consumer.held_delivery import HeldDelivery, Phase
from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.tasks import standard


@pytest.mark.parametrize("way", [("RUNNING",), ("HELD", "RUNNING", "HELD"), ("HELD", "RETURNING", "RUNNING")])
def test_a_delivery_neither_runs_without_waiting_nor_goes_back(way: tuple[str, ...]) -> None:
    """A step that the drawing does not have is a defect, found where it is made."""
    delivery = Delivery(queue="work", message_id="m", receipt_handle="r", body="", receive_count=1, leased_at=0.0)
    queue = InMemoryQueue(standard(), clock=FakeClock(), serializer=JsonTaskSerializer())
    held = HeldDelivery(delivery, PolledQueue(queue, timedelta(seconds=20)))
    for phase in way[:-1]:
        held.move_to(Phase[phase])

    with pytest.raises(AssertionError, match=f"to {way[-1]}"):
        held.move_to(Phase[way[-1]])
