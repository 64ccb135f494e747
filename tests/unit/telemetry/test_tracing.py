"""Whether traces are on, by the standard variables."""

import socket
import subprocess
import sys

import pytest

from mcp_queue.telemetry import exporting
from mcp_queue.telemetry.tracing import configure_tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_TRACES_EXPORTER": "none", **ENDPOINT},
        {"OTEL_SDK_DISABLED": "True", **ENDPOINT},
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **ENDPOINT},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", **ENDPOINT},
    ],
)
def test_traces_are_off_unless_an_exporter_is_named(environment: dict[str, str]) -> None:
    """And can be switched off with everything else set."""
    assert configure_tracing("gateway", environment) is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (ENDPOINT, "gateway"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, "gateway"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", **ENDPOINT}, "gateway"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "gateway"),
        ({"OTEL_SERVICE_NAME": "mine", **ENDPOINT}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=mine", **ENDPOINT}, "mine"),
    ],
)
def test_a_named_exporter_turns_traces_on(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator's service name comes first."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    provider = configure_tracing("gateway", environment)

    assert provider is not None
    assert expected == provider.resource.attributes["service.name"]
    provider.shutdown()


@pytest.mark.timeout(10)
def test_a_collector_that_does_not_answer_holds_up_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a process what is left is given up after a while, whatever the exporter's own patience."""
    monkeypatch.setattr(exporting, "_LAST_EXPORT_MS", 100)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        provider = configure_tracing("gateway", {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        assert provider is not None
        provider.get_tracer("test").start_span("the last one").end()

        provider.shutdown()


def test_traces_that_are_off_cost_no_import() -> None:
    """The SDK and the instrumentation are not loaded for nothing, neither by the gateway nor by the consumer."""
    code = (
        "import sys, mcp_queue.wiring.consumer, mcp_queue.wiring.gateway;"
        "from mcp_queue.telemetry.tracing import configure_tracing; configure_tracing('x', {});"
        "sys.exit(any(name.startswith(('opentelemetry.sdk', 'opentelemetry.instr')) for name in sys.modules))"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
