"""Fields that log lines of one attempt share."""

import asyncio

from mcp_queue.services.log_context import current_log_fields, log_fields


def test_fields_hold_inside_and_add_up() -> None:
    """An inner block adds to the outer one and gives it back as it was."""
    with log_fields(task_id="1", attempt=1):
        with log_fields(attempt=2):
            assert {"task_id": "1", "attempt": 2} == current_log_fields()
        assert {"task_id": "1", "attempt": 1} == current_log_fields()
    assert current_log_fields() == {}


async def test_tasks_that_run_side_by_side_see_their_own_fields() -> None:
    """Slots share a loop, not their fields."""

    async def attempt(task_id: str) -> object:
        with log_fields(task_id=task_id):
            await asyncio.sleep(0)
            return current_log_fields()["task_id"]

    assert ["1", "2"] == list(await asyncio.gather(attempt("1"), attempt("2")))
