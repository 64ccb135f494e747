"""Whether traces are on, by the standard variables."""

import subprocess
import sys

import pytest

from app.telemetry.tracing import configure_tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_TRACES_EXPORTER": "none", **ENDPOINT},
        {"OTEL_SDK_DISABLED": "True", **ENDPOINT},
        {"OTEL_TRACES_EXPORTER": "zipkin"},
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


def test_traces_that_are_off_cost_no_import() -> None:
    """The SDK is not loaded for nothing."""
    code = (
        "import sys; from app.telemetry.tracing import configure_tracing; configure_tracing('x', {});"
        "sys.exit('opentelemetry.sdk' in sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
