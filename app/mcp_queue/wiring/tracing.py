"""Traces of this process, where its environment asks for them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry import trace

from mcp_queue.config import environment
from mcp_queue.ports import CallbackSender, Clock, Tracer
from mcp_queue.services.tracing import NO_TRACER
from mcp_queue.telemetry.spans import OpenTelemetryTracer, TracedCallbackSender
from mcp_queue.telemetry.tracing import configure_tracing, instrument

if TYPE_CHECKING:
    # Not for a consumer to import: it serves no API.
    from fastapi import FastAPI
    from opentelemetry.sdk.trace import TracerProvider


@dataclass(frozen=True, slots=True)
class Tracing:
    """How this process traces: not at all without a ``provider``."""

    tracer: Tracer = NO_TRACER
    provider: "TracerProvider | None" = None

    def of_callbacks(self, sender: CallbackSender) -> CallbackSender:
        """Return ``sender`` with its requests traced."""
        return sender if self.provider is None else TracedCallbackSender(sender, self.provider)

    def of_requests(self, app: "FastAPI") -> "FastAPI":
        """Return ``app``, which has served nothing yet, with its requests traced."""
        if self.provider is not None:
            instrument(app, self.provider)
        return app


@contextlib.asynccontextmanager
async def tracing(service: str, clock: Clock) -> AsyncIterator[Tracing]:
    """Trace as ``service`` while the context is open; send what is left at its end.

    A project's own handlers find the same provider by OpenTelemetry's API.
    """
    provider = configure_tracing(service, environment())
    if provider is None:
        yield Tracing()
        return
    trace.set_tracer_provider(provider)
    try:
        yield Tracing(OpenTelemetryTracer(provider, clock), provider)
    finally:
        await asyncio.to_thread(provider.shutdown)
