"""The ledger is what the ports say, to the type checker too."""

from mcp_queue import ports
from mcp_queue.adapters.ledger.ledger import Ledger


async def test_each_part_of_the_ledger_is_the_port_it_stands_for(ledger: Ledger) -> None:
    """Whoever needs a port is given this part; the annotations are what is tested, by the type checker."""
    tasks: ports.TaskStore = ledger.tasks
    executions: ports.ExecutionLog = ledger.executions
    claims: ports.IdempotencyStore = ledger.claims
    held: ports.HeldTasks = ledger.held
    schedules: ports.ScheduleStore = ledger.schedules
    dead_letters: ports.DeadLetterStore = ledger.dead_letters
    redrives: ports.RedriveStore = ledger.redrives
    notices: ports.NotificationOutbox = ledger.notices
    queues: ports.QueueMarks = ledger.queues
    destinations: ports.Destinations = ledger.destinations
    audit: ports.AuditLog = ledger.audit
    parts = {tasks, executions, claims, held, schedules, dead_letters, redrives, notices, queues, destinations, audit}
    assert 11 == len(parts)
