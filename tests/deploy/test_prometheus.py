"""The rules and the dashboards' queries, by promtool."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mcp_queue.telemetry.http_metrics import HttpMetrics
from mcp_queue.telemetry.metrics import PrometheusMetrics
from tests.support.monitoring import CONFIGURATION, promtool, queries
from tests.support.tools import ROOT, output_of

RULES = sorted((CONFIGURATION / "rules").glob("*.yml"))
TESTS = CONFIGURATION / "tests" / "alerts.yml"


def rules() -> Iterator[dict[str, Any]]:
    """Yield every rule."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by name; of those that share one, any."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def exposed() -> set[str]:
    """Return the name of every series that the processes expose, and those that Prometheus makes itself."""
    registry = PrometheusMetrics(()).registry
    HttpMetrics(registry)
    names = {"up", "ALERTS"}
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    for metric in registry.collect():
        names |= {metric.name + suffix for suffix in suffixes[metric.type]}
    return names


def series_of(expression: str) -> set[str]:
    """Return the names of the series that an expression reads."""
    bare = re.sub(r'"[^"]*"|\b(?:by|on) \([^)]*\)|\[[^]]*\]', "", expression)
    return set(re.findall(r"\b(?:mcp_[\w:]+|http_\w+|up|ALERTS)\b", bare))


def test_promtool_takes_configuration_and_rules() -> None:
    """Their syntax, with every expression."""
    output_of(promtool(), "check", "config", CONFIGURATION / "prometheus.yml")
    output_of(promtool(), "check", "rules", *RULES)


def test_the_alerts_go_off_when_they_should() -> None:
    """By promtool's unit tests, on series that are made up for each."""
    output_of(promtool(), "test", "rules", TESTS)


def test_every_alert_is_seen_going_off() -> None:
    """No alert is there that no unit test has seen."""
    tested = {
        test["alertname"]
        for series in yaml.safe_load(TESTS.read_text())["tests"]
        for test in series["alert_rule_test"]
        if test["exp_alerts"]
    }
    assert alerts().keys() == tested


def test_every_alert_has_a_severity_and_its_runbook() -> None:
    """The link leads to a heading that exists, with the alert's name."""
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "operations.md").read_text(), flags=re.MULTILINE)
    assert sorted(alerts()) == sorted(name for name in headings if name.startswith("McpQueue"))
    for name, alert in alerts().items():
        assert f"docs/operations.md#{name.lower()}" == alert["annotations"]["runbook"]
        assert alert["labels"]["severity"] in {"critical", "warning"}


def test_rules_read_only_what_is_there() -> None:
    """Series of the processes, and those that other rules record."""
    known = exposed() | {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        assert set() == series_of(rule["expr"]) - known, rule


def test_dashboards_read_only_what_is_there(tmp_path: Path) -> None:
    """Every query is one that Prometheus takes, over series that exist."""
    known = exposed() | {rule["record"] for rule in rules() if "record" in rule}
    for place, query in queries():
        assert set() == series_of(query) - known, place
    as_rules = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(queries())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": as_rules}]}))
    output_of(promtool(), "check", "rules", path)
