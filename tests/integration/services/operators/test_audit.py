"""What operators did is remembered."""

import logging

import pytest

from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.domain.errors import LedgerDisabledError, LedgerUnavailableError
from mcp_queue.domain.operators.audit import AuditEntry
from mcp_queue.services.operators.audit import Auditor
from tests.support.clock import START
from tests.support.dead_letters import DeadLetterKit


async def test_actions_are_listed_the_latest_first(kit: DeadLetterKit) -> None:
    """Who, what, to what, when and how many."""
    assert kit.ledger is not None
    auditor = Auditor(kit.ledger.audit, kit.clock)
    await auditor.note("ann", "pause", "/v1/queues/tasks")
    await auditor.note("bob", "redrive", "/v1/queues/tasks/dlq", 7)
    page = await auditor.entries(limit=1)
    assert [AuditEntry(at=START, actor="bob", action="redrive", target="/v1/queues/tasks/dlq", count=7)] == list(
        page.items
    )
    assert ["ann"] == [entry.actor for entry in (await auditor.entries(limit=1, cursor=page.next_cursor)).items]


async def test_action_that_cannot_be_written_stands_in_the_log(
    kit: DeadLetterKit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has happened: to fail now would only make somebody repeat it."""
    assert kit.ledger is not None

    async def away(_: AuditEntry) -> None:
        raise LedgerUnavailableError

    monkeypatch.setattr(kit.ledger.audit, "append", away)
    await Auditor(kit.ledger.audit, kit.clock).note("ann", "purge", "/v1/queues/tasks", 3)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ("ann", "purge", 3) == (vars(record)["actor"], vars(record)["action"], vars(record)["count"])


async def test_without_a_ledger_nothing_is_remembered(kit: DeadLetterKit, caplog: pytest.LogCaptureFixture) -> None:
    """The log line is all there is, and nobody pretends otherwise."""
    caplog.set_level(logging.INFO)
    auditor = Auditor(NoLedger(kit.clock).audit, kit.clock)
    await auditor.note("ann", "pause", "/v1/queues/tasks")
    assert "an operator acted" in caplog.text
    with pytest.raises(LedgerDisabledError):
        await auditor.entries(limit=1)
