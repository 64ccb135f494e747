"""The Grafana dashboards and their queries."""

import json
from collections.abc import Iterator
from typing import Any

from tests.support.stack import ROOT

DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
#: What Grafana puts in the place of variables, as narrow as a test's time and as wide as its queues.
_VARIABLES = {"$__rate_interval": "1m", "$queue": ".*"}


def dashboards() -> dict[str, dict[str, Any]]:
    """Return every dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def queries() -> Iterator[tuple[str, str]]:
    """Yield every query, with the place where it stands."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                query = target["expr"]
                for variable, value in _VARIABLES.items():
                    query = query.replace(variable, value)
                yield f"{name}: {panel['title']} ({target['refId']})", query
