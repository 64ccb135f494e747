"""How small writes become large ones."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from mcp_queue.adapters.ledger.engine.group_commit import BYTES_OF_A_ROW, GroupCommit
from mcp_queue.domain.errors import LedgerUnavailableError


class Writes:
    """A database that writes when it is let, and remembers what came together."""

    def __init__(self) -> None:
        """Let everything through."""
        self.groups: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def write(self, items: Sequence[int]) -> Sequence[int]:
        """Answer each item with its double."""
        self.groups.append(list(items))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return [item * 2 for item in items]


async def test_each_caller_gets_its_own_answers() -> None:
    """Answers come back in the order given, to whoever asked."""
    commit = GroupCommit(Writes().write)
    answers = await asyncio.gather(commit.submit([1, 2]), commit.submit([3]), commit.submit([4, 5, 6]))
    assert [[2, 4], [6], [8, 10, 12]] == [list(answer) for answer in answers]


async def test_what_comes_in_one_turn_goes_together() -> None:
    """Concurrent callers share one write."""
    writes = Writes()
    commit = GroupCommit(writes.write)
    await asyncio.gather(*(commit.submit([number]) for number in range(10)))
    assert [list(range(10))] == writes.groups


async def test_what_comes_during_a_write_goes_together_in_the_next() -> None:
    """One write is under way at a time; the rest gathers behind it."""
    writes = Writes()
    writes.open.clear()
    commit = GroupCommit(writes.write)
    first = asyncio.ensure_future(commit.submit([1]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(commit.submit([number])) for number in (2, 3)]
    await asyncio.sleep(0)
    assert [[1]] == writes.groups
    writes.open.set()
    await asyncio.gather(first, *others)
    assert [[1], [2, 3]] == writes.groups


async def test_lone_caller_never_lingers() -> None:
    """Waiting for company is for busy times: here it would last for ever."""
    commit = GroupCommit(Writes().write, linger=timedelta(hours=1))
    for number in range(5):
        assert [number * 2] == list(await commit.submit([number]))


async def test_callers_that_submit_again_at_once_do_not_linger() -> None:
    """Only what came during the write shows that the ledger is busy."""
    writes = Writes()
    commit = GroupCommit(writes.write, linger=timedelta(hours=1))

    async def submit_twice(number: int) -> None:
        await commit.submit([number])
        await commit.submit([number])

    await asyncio.gather(*(submit_twice(number) for number in range(3)))
    assert [[0, 1, 2], [0, 1, 2]] == writes.groups


async def test_full_group_does_not_linger() -> None:
    """As soon as a group is full it is written, however long it might have waited."""
    writes = Writes()
    writes.open.clear()
    commit = GroupCommit(writes.write, max_rows=4, linger=timedelta(hours=1))
    calls = [asyncio.ensure_future(commit.submit([number])) for number in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    calls += [asyncio.ensure_future(commit.submit([number])) for number in range(3, 9)]
    await asyncio.sleep(0)
    writes.open.set()
    await asyncio.gather(*calls[:7])
    assert [[0, 1, 2], [3, 4, 5, 6]] == writes.groups[:2]
    await commit.aclose()
    await asyncio.gather(*calls)


async def test_large_items_close_a_group_by_their_size() -> None:
    """A statement has a bounded size, unless one submission alone is larger."""
    writes = Writes()
    commit = GroupCommit(writes.write, max_rows=100)

    async def submit(number: int, rows: int) -> None:
        await commit.submit([number], size=rows * BYTES_OF_A_ROW)

    await asyncio.gather(*(submit(number, 60) for number in range(4)), submit(9, 500))
    assert [[0, 1], [2, 3], [9]] == writes.groups


async def test_failure_is_told_to_everyone_in_the_group_and_to_nobody_else() -> None:
    """The next group begins anew."""
    writes = Writes()
    writes.error = LedgerUnavailableError()
    commit = GroupCommit(writes.write)
    answers = await asyncio.gather(commit.submit([1]), commit.submit([2]), return_exceptions=True)
    assert [LedgerUnavailableError] * 2 == [type(answer) for answer in answers]
    writes.error = None
    assert [6] == list(await commit.submit([3]))


async def test_caller_that_goes_away_leaves_the_others_their_answers() -> None:
    """Its items are written with the rest."""
    writes = Writes()
    writes.open.clear()
    commit = GroupCommit(writes.write)
    gone, waits = (asyncio.ensure_future(commit.submit([number])) for number in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    writes.open.set()
    assert [4] == list(await waits)
    assert [[1, 2]] == writes.groups


async def test_closing_writes_what_waits_and_refuses_what_comes() -> None:
    """Nothing that was accepted is lost."""
    writes = Writes()
    commit = GroupCommit(writes.write)
    calls = [asyncio.ensure_future(commit.submit([number])) for number in range(3)]
    await asyncio.sleep(0)
    await commit.aclose()
    assert [[0], [2], [4]] == [list(await call) for call in calls]
    with pytest.raises(LedgerUnavailableError):
        await commit.submit([4])


async def test_nothing_is_written_for_nothing() -> None:
    """An empty submission is answered at once."""
    writes = Writes()
    assert [] == list(await GroupCommit(writes.write).submit([]))
    assert [] == writes.groups
