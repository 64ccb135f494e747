"""Records what operators did."""

import logging

from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.domain.operators.audit import AuditEntry
from mcp_queue.domain.task_states import Page
from mcp_queue.ports import AuditLog, Clock

logger = logging.getLogger(__name__)


class Auditor:
    """Writes what operators did to the log, and to the ledger where there is one."""

    def __init__(self, log: AuditLog, clock: Clock) -> None:
        """Keep entries in ``log``."""
        self._log = log
        self._clock = clock

    async def note(self, actor: str, action: str, target: str, count: int | None = None) -> None:
        """Remember that ``actor`` did ``action`` to ``target``, which touched ``count`` things.

        It has happened, so that a ledger that does not answer is no reason to fail: the line in the log is left then.
        """
        entry = AuditEntry(at=self._clock.now(), actor=actor, action=action, target=target, count=count)
        fields = {"actor": actor, "action": action, "target": target, "count": count}
        logger.info("an operator acted", extra=fields)
        try:
            await self._log.append(entry)
        except LedgerUnavailableError as error:
            logger.error("an action of an operator is in no audit log: %s", error, extra=fields)  # noqa: TRY400  # the trace says no more

    async def entries(self, *, limit: int, cursor: str | None = None) -> Page[AuditEntry]:
        """Return what was done, the latest first.

        Raises:
            LedgerDisabledError: nothing remembers it.

        """
        return await self._log.list_entries(limit=limit, cursor=cursor)
