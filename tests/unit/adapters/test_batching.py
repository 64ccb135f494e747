"""Collecting submissions while a group is under way."""

import asyncio
from datetime import timedelta

from mcp_queue.adapters.batching import GroupCollector, PendingItem

Group = list[PendingItem[str, str]]


def finish(collector: GroupCollector[str, str], group: Group) -> None:
    """Answer each pending of ``group`` with its item in capitals."""
    for pending in group:
        pending.resolve(pending.item.upper())
    collector.group_ended()


async def turns() -> None:
    """Let everything that is scheduled happen."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_an_item_that_was_cancelled_in_time_is_left_out() -> None:
    """Where the collector drops them, a caller withdraws what has not started."""
    groups: list[Group] = []
    collector: GroupCollector[str, str] = GroupCollector(groups.append, 10, drop_cancelled=True)
    kept, withdrawn = collector.submit("kept"), collector.submit("withdrawn")
    withdrawn.cancel()
    await turns()
    assert [["kept"]] == [[pending.item for pending in group] for group in groups]
    finish(collector, groups[0])
    assert "KEPT" == await kept


async def test_an_item_that_was_cancelled_too_late_disturbs_no_other() -> None:
    """Its answer has no reader."""
    groups: list[Group] = []
    collector: GroupCollector[str, str] = GroupCollector(groups.append, 10, drop_cancelled=True)
    kept, late = collector.submit("kept"), collector.submit("late")
    await turns()
    late.cancel()
    finish(collector, groups[0])
    assert "KEPT" == await kept


async def test_a_group_of_cancelled_items_holds_up_nothing() -> None:
    """The next one starts in its place."""
    groups: list[Group] = []
    collector: GroupCollector[str, str] = GroupCollector(groups.append, 2, drop_cancelled=True)
    for item in ("a", "b"):
        collector.submit(item).cancel()
    kept = collector.submit("kept")
    await turns()
    finish(collector, groups[0])
    assert "KEPT" == await kept


async def test_draining_starts_a_group_that_lingers_and_waits_for_its_end() -> None:
    """A collector that closes does not wait for more."""
    groups: list[Group] = []
    collector: GroupCollector[str, str] = GroupCollector(groups.append, 10, linger=timedelta(hours=1))
    first = collector.submit("first")
    await turns()
    others = [collector.submit("second"), collector.submit("third")]
    finish(collector, groups[0])
    await turns()
    assert 1 == len(groups), "it lingers"
    drained = asyncio.ensure_future(collector.drain())
    await turns()
    assert (2, False) == (len(groups), drained.done())
    finish(collector, groups[1])
    await drained
    assert ["FIRST", "SECOND", "THIRD"] == list(await asyncio.gather(first, *others))
