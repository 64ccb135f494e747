"""From the layers to the settings: every default resolved, every mistake named."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from mcp_queue.config.declaration import settings_of
from mcp_queue.config.documentation.reference import effective
from mcp_queue.config.loading.checks import problems_in, warnings_about
from mcp_queue.config.loading.layers import Layers, misspelt_variables, read_layers
from mcp_queue.config.loading.queue_rules import DEFAULT_DEAD_LETTER_QUEUE, Catalogue
from mcp_queue.config.loading.queues import BUILT_IN, Defaults, queue_problems, queue_warnings, resolve_queues
from mcp_queue.config.schema.document import Callbacks, Document, Environment, Ledger
from mcp_queue.config.schema.entries import DestinationEntry, NotifierEntry, QueueEntry, RouteEntry
from mcp_queue.config.schema.queue_sections import Sqs
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
    """Return the settings that ``environ``, and the file that it names, amount to.

    The variables in ``fallback`` count where neither of the two says anything.

    Raises:
        ConfigError: at least one mistake was found.

    """
    layers = read_layers(environ, fallback)
    catalogue, warnings = _catalogue(layers)
    _refuse(list(catalogue.problems()))
    defaults = _defaults(layers)
    queues = resolve_queues(catalogue, defaults)
    settings = _settings(layers, catalogue, queues)
    _refuse([*queue_problems(queues, catalogue), *problems_in(settings, layers)])
    warnings += queue_warnings(queues, catalogue, defaults)
    warnings += warnings_about(settings)
    warnings += misspelt_variables(set(environ) - layers.used)
    return replace(settings, warnings=tuple(warnings))


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError(problems)


class _QueueVariable(NamedTuple):
    """A variable that says where the queue of one name lives."""

    queue: str
    variable: str
    url: str | None


def _queue_variables(environment: Environment) -> list[_QueueVariable]:
    return [
        _QueueVariable(field.removesuffix("_url").replace("_", "-"), setting.knob.variable, getattr(environment, field))
        for setting in settings_of(Environment)
        if (field := setting.path[0]).endswith("_url")
    ]


def _catalogue(layers: Layers) -> tuple[Catalogue, list[str]]:
    """Return the queues as they are written, with the urls of the environment in place, and warnings about those.

    A variable that the file names is the file's to place; any other beats the file.
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
        warnings += _left_out(entries, listed, variables)
    # By name, so that a name that stands twice is still there to be complained about.
    return Catalogue(tuple(entries[entry.name] for entry in listed), variables), warnings


def _left_out(
    entries: Mapping[str, QueueEntry], listed: Sequence[QueueEntry], variables: Mapping[str, str]
) -> list[str]:
    """Return a line for each built-in queue that is not there: beside SQS none falls back to a file unasked."""
    missing = entries.keys() - {entry.name for entry in listed}
    return [f"{variables[name]} is not set: there is no queue {name!r}" for name in sorted(missing)]


def _defaults(layers: Layers) -> Defaults:
    document = layers.document
    places = {
        "visibility_timeout": ("queue", "sqs", "visibility_timeout"),
        "max_receive_count": ("queue", "sqs", "max_receive_count"),
        "max_retries": ("queue", "retry", "max_retries"),
        "max_task_bytes": ("gateway", "max_task_bytes"),
    }
    return Defaults(
        visibility_timeout=document.queue.sqs.visibility_timeout,
        max_receive_count=document.queue.sqs.max_receive_count,
        max_retries=document.queue.retry.max_retries,
        max_task_bytes=document.gateway.max_task_bytes,
        forced={name: layers.origins[path] for name, path in places.items() if path in layers.origins},
    )


def _settings(layers: Layers, catalogue: Catalogue, queues: tuple[QueueSpec, ...]) -> Settings:
    document = layers.document
    queue = document.queue
    return Settings(
        queues=queues,
        dead_letter_queues=catalogue.dead_letter_queues,
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
        effective=effective(layers),
    )


def _sqs(section: Sqs) -> SqsSettings:
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


def _callbacks(callbacks: Callbacks) -> CallbackSettings:
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


#: What people write, and the async driver that it means.
_DRIVERS = {
    "postgres": "postgresql+asyncpg", "postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite",
}  # fmt: skip


def _ledger(document: Document) -> LedgerSettings:
    ledger: Ledger = document.ledger
    url = ledger.url or f"sqlite+aiosqlite:///{Path(document.queue.data_dir, 'ledger.db')}"
    scheme, separator, rest = url.partition("://")
    return LedgerSettings(
        url=None if url == "none" else _DRIVERS.get(scheme, scheme) + separator + rest,
        retention=ledger.retention,
        dead_letter_retention=ledger.dead_letter_retention,
    )
