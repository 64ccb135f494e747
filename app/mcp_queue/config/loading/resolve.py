"""Builds the settings from the merged configuration, with every default resolved and every mistake reported."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from mcp_queue.config.declaration import settings_of
from mcp_queue.config.loading.checks import problems_in, warnings_about
from mcp_queue.config.loading.effective import effective_settings
from mcp_queue.config.loading.layers import LayeredConfig, misspelt_variables, read_layers
from mcp_queue.config.loading.queue_rules import DEFAULT_DEAD_LETTER_QUEUE, QueueEntries
from mcp_queue.config.loading.queues import BUILT_IN, QueueDefaults, queue_problems, queue_warnings, resolve_queues
from mcp_queue.config.schema.document import CallbacksSection, Document, EnvironmentSection
from mcp_queue.config.schema.entries import DestinationEntry, NotifierEntry, QueueEntry, RouteEntry
from mcp_queue.config.schema.queue_sections import SqsSection
from mcp_queue.config.settings import (
    CallbackSettings,
    LedgerSettings,
    NotifierSettings,
    RetrySettings,
    Settings,
    SqsSettings,
)
from mcp_queue.domain.callbacks.addresses import EgressPolicy
from mcp_queue.domain.callbacks.destinations import DestinationLimits, LimitRule
from mcp_queue.domain.errors import ConfigError
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.domain.execution.routing import Route
from mcp_queue.domain.queues import QueueSpec


def load_settings(environ: Mapping[str, str], fallback: Mapping[str, str] = MappingProxyType({})) -> Settings:
    """Return the settings of ``environ`` and of the file that it names.

    The variables in ``fallback`` apply where neither of the two sets a value.

    Raises:
        ConfigError: at least one mistake was found.

    """
    layers = read_layers(environ, fallback)
    queue_entries, warnings = _queue_entries(layers)
    _refuse(list(queue_entries.problems()))
    defaults = _defaults(layers)
    queues = resolve_queues(queue_entries, defaults)
    settings = _settings(layers, queue_entries, queues)
    _refuse([*queue_problems(queues, queue_entries), *problems_in(settings, layers)])
    warnings += queue_warnings(queues, queue_entries, defaults)
    warnings += warnings_about(settings)
    warnings += misspelt_variables(set(environ) - layers.used)
    return replace(settings, warnings=tuple(warnings))


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError(problems)


class _QueueVariable(NamedTuple):
    """A variable that holds the URL of the queue ``queue``."""

    queue: str
    variable: str
    url: str | None


def _queue_variables(environment: EnvironmentSection) -> list[_QueueVariable]:
    return [
        _QueueVariable(field.removesuffix("_url").replace("_", "-"), setting.env_var.name, getattr(environment, field))
        for setting in settings_of(EnvironmentSection)
        if (field := setting.path[0]).endswith("_url")
    ]


def _queue_entries(layers: LayeredConfig) -> tuple[QueueEntries, list[str]]:
    """Return the queues with the URLs of the environment filled in, and warnings about those.

    A variable that the file refers to sets what the file says; any other overrides the file.
    """
    written = layers.document.queue.sqs.queues
    listed = BUILT_IN if written is None else written
    entries = {entry.name: entry for entry in listed}
    variables: dict[str, str] = {}
    warnings: list[str] = []
    for queue, variable, url in _queue_variables(layers.environment):
        if variable in layers.used or (url is None and written is not None):
            continue
        if queue not in entries:
            warnings.append(f"{variable} is set, but the file has no queue {queue!r} and names no ${{{variable}}}")
            continue
        variables[queue] = variable
        if entries[queue].url not in {None, url}:
            warnings.append(f"{variable} replaces queue.sqs.queues[{queue}].url of the file")
        entries[queue] = entries[queue].model_copy(update={"url": url})
    if written is None and any(entry.url for entry in entries.values()):
        listed = tuple(entry for entry in listed if entries[entry.name].url or entry.name == DEFAULT_DEAD_LETTER_QUEUE)
        warnings += _missing_queues(entries, listed, variables)
    # By name: a duplicate stays in the list, and is reported.
    return QueueEntries(tuple(entries[entry.name] for entry in listed), variables), warnings


def _missing_queues(
    entries: Mapping[str, QueueEntry], listed: Sequence[QueueEntry], variables: Mapping[str, str]
) -> list[str]:
    """Return a warning for each built-in queue without a URL: beside SQS, none becomes an embedded queue silently."""
    missing = entries.keys() - {entry.name for entry in listed}
    return [f"{variables[name]} is not set: there is no queue {name!r}" for name in sorted(missing)]


def _defaults(layers: LayeredConfig) -> QueueDefaults:
    document = layers.document
    places = {
        "visibility_timeout": ("queue", "sqs", "visibility_timeout"),
        "max_receive_count": ("queue", "sqs", "max_receive_count"),
        "max_retries": ("queue", "retry", "max_retries"),
        "max_task_bytes": ("gateway", "max_task_bytes"),
    }
    return QueueDefaults(
        visibility_timeout=document.queue.sqs.visibility_timeout,
        max_receive_count=document.queue.sqs.max_receive_count,
        max_retries=document.queue.retry.max_retries,
        max_task_bytes=document.gateway.max_task_bytes,
        forced={name: layers.origins[path] for name, path in places.items() if path in layers.origins},
    )


def _settings(layers: LayeredConfig, queue_entries: QueueEntries, queues: tuple[QueueSpec, ...]) -> Settings:
    document = layers.document
    queue = document.queue
    return Settings(
        queues=queues,
        dead_letter_queues=queue_entries.dead_letter_queues,
        routes=tuple(_route(entry) for entry in queue.routes),
        destinations=tuple(_limits(entry) for entry in queue.destinations),
        notifiers=tuple(_notifier(entry) for entry in queue.notifiers),
        workers=queue.workers,
        retry=_retry(document),
        sqs=_sqs(queue.sqs),
        gateway=document.gateway,
        consumer=document.consumer,
        callbacks=_callbacks(document.callbacks),
        embeddings=document.embeddings,
        ledger=_ledger(document),
        logs=document.logs,
        data_dir=Path(queue.data_dir),
        handlers=queue.handlers,
        shutdown_grace=queue.shutdown_grace,
        shared_metrics=layers.environment.shared_metrics,
        effective=effective_settings(layers),
    )


def _sqs(section: SqsSection) -> SqsSettings:
    return SqsSettings(
        region=section.region,
        endpoint_url=section.endpoint_url,
        wait_time=section.wait_time_seconds,
        kms_key=section.kms_key,
        tags=section.tags,
    )


def _route(entry: RouteEntry) -> Route:
    return Route(
        type=entry.type,
        callback_url=entry.callback_url,
        name=entry.name,
        timeout=entry.timeout,
        headers={name: value.get_secret_value() for name, value in entry.headers.items()},
        secrets=None if entry.secrets is None else tuple(secret.get_secret_value() for secret in entry.secrets),
    )


def _limits(entry: DestinationEntry) -> LimitRule:
    limits = DestinationLimits(max_concurrent=entry.max_concurrent, max_per_second=entry.max_per_second)
    return LimitRule(limits=limits, name=entry.name, host=entry.host and entry.host.lower())


def _notifier(entry: NotifierEntry) -> NotifierSettings:
    return NotifierSettings(
        name=entry.name or entry.type,
        type=entry.type,
        url=entry.url,
        headers={name: value.get_secret_value() for name, value in entry.headers.items()},
    )


def _retry(document: Document) -> RetrySettings:
    backoff = document.queue.retry.backoff
    return RetrySettings(
        max_retries=document.queue.retry.max_retries,
        backoff=ExponentialBackoff(backoff.base_delay, backoff.max_delay, backoff.factor, backoff.jitter),
    )


def _callbacks(callbacks: CallbacksSection) -> CallbackSettings:
    return CallbackSettings(
        timeout=callbacks.timeout,
        secrets=tuple(secret.get_secret_value() for secret in callbacks.secrets),
        egress=EgressPolicy(
            allowed_networks=callbacks.allowed_networks,
            allowed_ports=frozenset(callbacks.allowed_ports),
            allowed_hosts=frozenset(callbacks.allowed_hosts),
            require_https=callbacks.require_https,
        ),
    )


#: The async driver of each URL scheme that people write.
_DRIVERS = {
    "postgres": "postgresql+asyncpg", "postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite",
}  # fmt: skip


def _ledger(document: Document) -> LedgerSettings:
    ledger = document.ledger
    url = ledger.url or f"sqlite+aiosqlite:///{Path(document.queue.data_dir, 'ledger.db')}"
    scheme, separator, rest = url.partition("://")
    return LedgerSettings(
        url=None if url == "none" else _DRIVERS.get(scheme, scheme) + separator + rest,
        retention=ledger.retention,
        dead_letter_retention=ledger.dead_letter_retention,
    )
