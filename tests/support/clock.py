"""Times that tests use."""

from datetime import UTC, datetime, timedelta

#: Where fake clocks start.
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = timedelta(0)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
