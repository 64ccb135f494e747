"""Finds contradictions between settings, and settings that are probably not meant."""

import re
from collections import Counter
from collections.abc import Iterator

from mcp_queue.config.loading.layers import LayeredConfig
from mcp_queue.config.schema.values import format_duration
from mcp_queue.config.settings import Settings
from mcp_queue.domain.callbacks.addresses import check_url
from mcp_queue.domain.errors import RefusedAddressError
from mcp_queue.domain.queues import Backend

# As SQLAlchemy reads it: a password may hold anything but "@".
_AUTHORITY = re.compile(r"[^:]+://(?:[^:/]*(?::[^@]*)?@)?(?:\[[^/?]*\]|[^/:?]*)(?::(?P<port>[^/?]*))?")
_LEDGERS = ("postgresql+asyncpg://", "sqlite+aiosqlite:///")


def problems_in(settings: Settings, layers: LayeredConfig) -> Iterator[str]:
    """Yield every contradiction between settings."""
    retry = layers.document.queue.retry
    if ("queue", "retry", "max_retries") not in layers.origins and {
        "max_attempts",
        "max_retries",
    } <= retry.model_fields_set:
        yield "queue.retry.max_attempts: max_retries is there too; write one of the two"
    if retry.backoff.base_delay > retry.backoff.max_delay:
        base, maximum = format_duration(retry.backoff.base_delay), format_duration(retry.backoff.max_delay)
        yield f"{layers.key('queue', 'retry', 'backoff', 'base_delay')}: {base} is longer than max_delay, {maximum}"
    if settings.gateway.max_request_bytes < settings.gateway.max_task_bytes:
        yield (
            f"{layers.key('gateway', 'max_request_bytes')}: {settings.gateway.max_request_bytes} is less than "
            f"MAX_TASK_BYTES, {settings.gateway.max_task_bytes}"
        )
    if settings.gateway.metrics_port == settings.gateway.port:
        yield f"{layers.key('gateway', 'metrics_port')}: is the port of the gateway itself"
    if settings.ledger.url is not None and not settings.ledger.url.startswith(_LEDGERS):
        yield f"{layers.key('ledger', 'url')}: expected {_LEDGERS[0]}…, {_LEDGERS[1]}… or none"
    elif settings.ledger.url is not None and not _usable_port(settings.ledger.url):
        yield f"{layers.key('ledger', 'url')}: the port is no number from 1 to 65535"
    yield from _slow_callbacks(settings, layers)
    yield from _routes(settings)
    yield from _destinations(settings)
    yield from _notifiers(settings)


def _usable_port(url: str) -> bool:
    authority = _AUTHORITY.match(url)
    port = None if authority is None else authority["port"]
    return port is None or (port.isdecimal() and port.isascii() and 0 < int(port[:6]) < 1 << 16)


def _slow_callbacks(settings: Settings, layers: LayeredConfig) -> Iterator[str]:
    timeouts = [(layers.key("callbacks", "timeout"), settings.callbacks.timeout)]
    timeouts += [(f"queue.routes[{route.type}].timeout", route.timeout) for route in settings.routes]
    tasks = [spec for spec in settings.queues if spec.name not in settings.dead_letter_queues]
    shortest = min(tasks, key=lambda spec: spec.visibility_timeout)
    for key, timeout in timeouts:
        if timeout is not None and timeout >= shortest.visibility_timeout:
            yield (
                f"{key}: {format_duration(timeout)} is not shorter than the visibility timeout of the queue "
                f"{shortest.name!r}, {format_duration(shortest.visibility_timeout)}"
            )


def _routes(settings: Settings) -> Iterator[str]:
    for name, count in Counter(route.type for route in settings.routes).items():
        if count > 1:
            yield f"queue.routes[{name}].type: {count} routes have this type"
    for route in settings.routes:
        try:
            check_url(route.callback_url, settings.callbacks.egress)
        except RefusedAddressError as error:
            yield f"queue.routes[{route.type}].callback_url: {error}"


def _destinations(settings: Settings) -> Iterator[str]:
    own_names = {route.name for route in settings.routes}
    for written, count in Counter(rule.name or rule.host for rule in settings.destinations).items():
        if count > 1:
            yield f"queue.destinations[{written}]: {count} entries are for this destination"
    for rule in settings.destinations:
        key, limits = f"queue.destinations[{rule.name or rule.host}]", rule.limits
        if (rule.name is None) == (rule.host is None):
            yield f"{key}: expected a name or a host, one of the two"
        elif rule.name is not None and "://" not in rule.name and rule.name not in own_names:
            yield f"{key}.name: {rule.name!r} is no URL, and no route has this name"
        if limits.max_concurrent is None and limits.max_per_second is None:
            yield f"{key}: sets no limit; known are max_concurrent and max_per_second"


def _notifiers(settings: Settings) -> Iterator[str]:
    for name, count in Counter(notifier.name for notifier in settings.notifiers).items():
        if count > 1:
            yield f"queue.notifiers[{name}].name: {count} notifiers have this name; give each its own"
    for notifier in settings.notifiers:
        key = f"queue.notifiers[{notifier.name}]"
        if (notifier.url is None) != (notifier.type == "log"):
            expected = "is missing" if notifier.url is None else "a log has none"
            yield f"{key}.url: {expected}"
        if notifier.headers and notifier.type != "webhook":
            yield f"{key}.headers: only a webhook has them"


def warnings_about(settings: Settings) -> Iterator[str]:
    """Yield a warning for each setting that is allowed but probably not meant."""
    on_sqs = any(spec.backend is Backend.SQS for spec in settings.queues)
    if on_sqs and settings.ledger.url is not None and settings.ledger.url.startswith("sqlite"):
        yield (
            "LEDGER_URL: the ledger is a SQLite file of this machine, while queues are on SQS; "
            "name a PostgreSQL database before gateway and consumer run on more than one machine"
        )
