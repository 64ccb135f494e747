"""Declares every setting, in the shape of the YAML file.

Lists of sections (``queues``, ``routes``) can only be set in the file; everything else has an environment variable.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from mcp_queue.config.declaration import EnvVar, Section, Setting, settings_of
from mcp_queue.config.schema.entries import MAX_SQS_BYTES, CallbackTimeout, Host, KeyEntry, TaskBytes
from mcp_queue.config.schema.queue_sections import QueueSection
from mcp_queue.config.schema.values import (
    AsDuration,
    AsLowerCase,
    AsNumber,
    AsRetention,
    AsWords,
    HttpUrl,
    Network,
    SigningSecret,
    SqsQueue,
)

_Port = Annotated[int, Field(ge=1, le=65_535), AsNumber]


class GatewaySection(Section):
    """Addresses, keys and limits of the gateway."""

    host: Annotated[str, Field(min_length=1), EnvVar("GATEWAY_HOST", "Address that the gateway listens on.")] = (
        "127.0.0.1"
    )
    port: Annotated[_Port, EnvVar("GATEWAY_PORT", "Port that the gateway listens on.")] = 8080
    auth: Annotated[
        Literal["keys", "none"],
        EnvVar(
            "GATEWAY_AUTH",
            "Whether API keys are asked for. Without any the gateway starts on loopback addresses only; "
            "with none it lets in whoever reaches it.",
        ),
    ] = "keys"
    api_keys_file: Annotated[
        Path | None,
        EnvVar(
            "GATEWAY_API_KEYS_FILE",
            "YAML list of API keys, beside those at gateway.keys. Both are read again on SIGHUP.",
            default="no file",
        ),
    ] = None
    keys: tuple[KeyEntry, ...] | None = None
    metrics_port: Annotated[
        _Port | None,
        EnvVar(
            "GATEWAY_METRICS_PORT",
            "Port that /metrics, /healthz and /readyz are moved to.",
            default="the gateway's own",
        ),
    ] = None
    metrics_auth: Annotated[
        bool,
        EnvVar("GATEWAY_METRICS_AUTH", "Ask for a key with the scope read at /metrics, /healthz and /readyz, too."),
    ] = False
    max_task_bytes: Annotated[
        TaskBytes,
        EnvVar(
            "MAX_TASK_BYTES",
            "Largest task. SQS queues without a payload_bucket stay at 1 MiB.",
            "bytes",
        ),
    ] = MAX_SQS_BYTES
    max_request_bytes: Annotated[
        int,
        Field(ge=64 * 1024, le=1024 * 1024 * 1024),
        AsNumber,
        EnvVar("MAX_REQUEST_BYTES", "Largest body of a batch request.", "bytes"),
    ] = 16 * 1024 * 1024
    max_requests: Annotated[
        int,
        Field(ge=1, le=100_000),
        AsNumber,
        EnvVar("GATEWAY_MAX_REQUESTS", "Requests in work at the same time; further ones are answered 503."),
    ] = 1000


class ConsumerSection(Section):
    """The address of the consumer's health and metrics."""

    host: Annotated[
        str, Field(min_length=1), EnvVar("CONSUMER_HOST", "Address that the consumer's health and metrics listen on.")
    ] = "127.0.0.1"
    port: Annotated[_Port, EnvVar("CONSUMER_PORT", "Port that the consumer's health and metrics listen on.")] = 8081


class CallbacksSection(Section):
    """Calls to URLs that clients and routes name."""

    timeout: Annotated[
        CallbackTimeout | None,
        EnvVar(
            "CALLBACK_TIMEOUT",
            "Time limit of one callback; shorter than every queue's visibility timeout.",
            "duration",
            default="30s, or 0.8 of the queue's visibility timeout where that is shorter",
        ),
    ] = None
    secrets: Annotated[
        tuple[SigningSecret, ...],
        AsWords,
        EnvVar(
            "CALLBACK_SECRETS",
            "Secrets that callbacks are signed with (whsec_… or whsk_…); several while they are rotated.",
            "list",
            default="not signed",
            secret=True,
        ),
    ] = ()
    allowed_networks: Annotated[
        tuple[Network, ...],
        AsWords,
        EnvVar(
            "CALLBACK_ALLOWED_NETWORKS",
            "Private, loopback and other special networks that callbacks may reach all the same.",
            "list of networks",
            default="none; loopback under make run",
        ),
    ] = ()
    allowed_ports: Annotated[
        tuple[_Port, ...],
        AsWords,
        EnvVar("CALLBACK_ALLOWED_PORTS", "The only ports that callbacks may reach.", "list of ports", default="any"),
    ] = ()
    allowed_hosts: Annotated[
        tuple[Host, ...],
        AsWords,
        EnvVar(
            "CALLBACK_ALLOWED_HOSTS",
            "The only hosts that callbacks may reach; *.example.com is every name below example.com.",
            "list of hosts",
            default="any",
        ),
    ] = ()
    require_https: Annotated[bool, EnvVar("CALLBACK_REQUIRE_HTTPS", "Refuse callbacks over plain http.")] = False


class EmbeddingsSection(Section):
    """The endpoint behind tasks of type ``embedding``."""

    base_url: Annotated[
        HttpUrl | None,
        EnvVar(
            "EMBEDDING_BASE_URL",
            "OpenAI-compatible API for tasks of type embedding, such as https://api.openai.com/v1.",
            default="none: those tasks fail",
        ),
    ] = None
    api_key: Annotated[
        SecretStr | None, EnvVar("EMBEDDING_API_KEY", "Key for that API.", default="none", secret=True)
    ] = None


class LedgerSection(Section):
    """The database that remembers tasks."""

    url: Annotated[
        str | None,
        EnvVar(
            "LEDGER_URL",
            "Database that remembers tasks: postgresql+asyncpg://…, sqlite+aiosqlite:///…, or none to go without.",
            default="a SQLite file in QUEUE_DATA_DIR",
        ),
    ] = None
    retention: Annotated[
        timedelta,
        Field(ge=timedelta(minutes=1)),
        AsDuration,
        EnvVar("LEDGER_RETENTION", "How long ended tasks are remembered.", "duration"),
    ] = timedelta(days=7)
    dead_letter_retention: Annotated[
        timedelta | None,
        AsRetention,
        EnvVar(
            "DEAD_LETTER_RETENTION",
            "How long a dead letter waits for a person before it is dropped.",
            "duration, or never",
            default="never",
        ),
    ] = None


class LogsSection(Section):
    """Which log lines the processes write, and in which form."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        AsLowerCase,
        EnvVar("LOG_LEVEL", "Least severe messages written."),
    ] = "info"
    format: Annotated[
        Literal["auto", "json", "text"],
        EnvVar("LOG_FORMAT", "One JSON object a line, or text; auto is text on a terminal."),
    ] = "auto"


class Document(Section):
    """The whole configuration, as the file and the environment write it."""

    queue: QueueSection = QueueSection()
    gateway: GatewaySection = GatewaySection()
    consumer: ConsumerSection = ConsumerSection()
    callbacks: CallbacksSection = CallbacksSection()
    embeddings: EmbeddingsSection = EmbeddingsSection()
    ledger: LedgerSection = LedgerSection()
    logs: LogsSection = LogsSection()


class EnvironmentSection(Section):
    """Settings that only the environment holds: the path of the file, and the URLs of the built-in queues."""

    config: Annotated[Path | None, EnvVar("QUEUE_CONFIG", "Path of the YAML file.", default="no file")] = None
    tasks_url: Annotated[
        SqsQueue | None,
        EnvVar("SQS_QUEUE_URL", "Queue tasks: its SQS URL, ARN or name.", default="embedded"),
    ] = None
    priority_tasks_url: Annotated[
        SqsQueue | None,
        EnvVar("SQS_PRIORITY_QUEUE_URL", "Queue priority-tasks (FIFO): its SQS URL, ARN or name.", default="embedded"),
    ] = None
    dlq_url: Annotated[
        SqsQueue | None,
        EnvVar("SQS_DLQ_URL", "Dead-letter queue dlq: its SQS URL, ARN or name.", default="embedded"),
    ] = None
    shared_metrics: Annotated[
        Path | None,
        EnvVar(
            "PROMETHEUS_MULTIPROC_DIR",
            "Directory in which several gateway processes of one machine add up their metrics.",
            default="each process has its own",
        ),
    ] = None


class ClientSection(Section):
    """The gateway that the client commands call, and the key for it."""

    url: Annotated[HttpUrl, EnvVar("MCP_QUEUE_URL", "Gateway that the client commands talk to.")] = (
        "http://127.0.0.1:8080"
    )
    key: Annotated[
        SecretStr | None, EnvVar("MCP_QUEUE_KEY", "API key for that gateway.", default="none", secret=True)
    ] = None


def every_setting() -> tuple[Setting, ...]:
    """Return every setting that has an environment variable, in the order in which they are documented."""
    return tuple(setting for model in (EnvironmentSection, Document, ClientSection) for setting in settings_of(model))
