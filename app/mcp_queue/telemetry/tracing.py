"""Switches OpenTelemetry traces on, if the process's ``OTEL_*`` variables ask for them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import trace

from mcp_queue.ports import CallbackSender, Clock, Tracer
from mcp_queue.services.tracing import NO_TRACER
from mcp_queue.telemetry.spans import OpenTelemetryTracer, TracedCallbackSender

if TYPE_CHECKING:
    # The SDK costs time and memory that a process without traces should not pay.
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)

_App = TypeVar("_App")
_PROTOCOL = "http/protobuf"
# Polled every few seconds by load balancers and Prometheus; their traces are noise.
_NOT_TRACED = "/(healthz|readyz|metrics)$"


@dataclass(frozen=True, slots=True)
class Tracing:
    """The traces of this process; off without a ``provider``."""

    tracer: Tracer = NO_TRACER
    provider: "TracerProvider | None" = None

    def of_callbacks(self, sender: CallbackSender) -> CallbackSender:
        """Return ``sender`` with its requests traced."""
        return sender if self.provider is None else TracedCallbackSender(sender, self.provider)

    def of_requests(self, app: _App) -> _App:
        """Return ``app``, a FastAPI application that has served nothing yet, with its requests traced."""
        if self.provider is not None:
            _instrument(app, self.provider)
        return app


@contextlib.asynccontextmanager
async def tracing(service_name: str, environment: Mapping[str, str], clock: Clock) -> AsyncIterator[Tracing]:
    """Trace while the context is open, as ``environment`` asks; export the remaining spans at the end.

    A project's own handlers get the same provider from OpenTelemetry's API.
    """
    provider = configure_tracing(service_name, environment)
    if provider is None:
        yield Tracing()
        return
    trace.set_tracer_provider(provider)
    try:
        yield Tracing(OpenTelemetryTracer(provider, clock), provider)
    finally:
        await asyncio.to_thread(provider.shutdown)


def configure_tracing(service_name: str, environment: Mapping[str, str]) -> "TracerProvider | None":
    """Return a provider that exports as ``environment`` says, or ``None`` if it names no exporter.

    ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` or ``OTEL_TRACES_EXPORTER`` switch traces
    on, ``OTEL_SDK_DISABLED=true`` switches them off. ``OTEL_SERVICE_NAME`` overrides ``service_name``. The provider's
    ``shutdown()`` exports the remaining spans; it blocks, for about five seconds at most.
    """
    exporter = _exporter(environment)
    if exporter is None:
        return None
    from mcp_queue.telemetry.exporting import make_provider  # noqa: PLC0415  # imports the SDK: see above

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return make_provider(exporter, None if named else service_name)


def _exporter(environment: Mapping[str, str]) -> str | None:
    endpoint = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    name = environment.get("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    if name == "none" or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if name not in {"otlp", "console"}:
        logger.warning("OTEL_TRACES_EXPORTER=%s is not supported: no traces", name)
        return None
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if name == "otlp" and (protocol or _PROTOCOL) != _PROTOCOL:
        logger.warning("OTEL_EXPORTER_OTLP_PROTOCOL=%s is not supported, only %s: no traces", protocol, _PROTOCOL)
        return None
    return name


def _instrument(app: Any, provider: "TracerProvider") -> None:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415  # imports FastAPI
    from opentelemetry.metrics import NoOpMeterProvider  # noqa: PLC0415  # see above

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        # Prometheus has the metrics, and spans of single ASGI messages are noise.
        meter_provider=NoOpMeterProvider(),
        exclude_spans=["receive", "send"],
        excluded_urls=_NOT_TRACED,
    )
