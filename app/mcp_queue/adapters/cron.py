"""Finds the next time at which a cron expression is due, in any time zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from mcp_queue.domain.errors import FieldError, InvalidTaskError

_MAX_EXPRESSION = 256
# In the database of a machine, but not in IANA's: what they mean differs from one to the next.
_OF_THE_MACHINE = {"localtime", "posixrules", "Factory"}


def next_tick(cron: str, timezone: str, after: datetime) -> datetime:
    """Return the first moment after ``after`` at which ``cron`` is due in ``timezone``.

    Five fields, as Debian's cron reads them. A time of day that a change to summer time skips comes as soon as the
    clocks show a time again, and one that a change back brings twice comes the first time: a daily run is neither
    dropped nor doubled.

    Raises:
        InvalidTaskError: no cron expression, none that is ever due, or no time zone of the IANA database.

    """
    if len(cron) > _MAX_EXPRESSION or len(cron.split()) != 5:  # noqa: PLR2004  # minute, hour, day, month, weekday
        raise _invalid("cron", "a cron expression has five fields")
    zone = _zone(timezone)
    try:
        ticks = CronSim(cron, after.astimezone(zone))
    except CronSimError as error:
        raise _invalid("cron", str(error)) from error
    for tick in ticks:
        # It counts in local times, of which one hour comes twice a year: a tick of that hour may have passed already.
        # Two times of one zone are compared by their clocks' faces, hence in UTC.
        moment = tick.astimezone(UTC)
        if moment > after.astimezone(UTC):
            return moment
    raise _invalid("cron", "it is never due")


def _zone(timezone: str) -> ZoneInfo:
    if timezone in _OF_THE_MACHINE or timezone.startswith(("posix/", "right/")):
        raise _invalid("timezone", "there is no such time zone")
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _invalid("timezone", "there is no such time zone") from error


def _invalid(member: str, message: str) -> InvalidTaskError:
    return InvalidTaskError(f"{member}: {message}", (FieldError(("body", member), message),))
