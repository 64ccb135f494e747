"""Measures HTTP requests under the metric name and labels of prometheus-fastapi-instrumentator."""

from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import metrics

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class HttpMetrics:
    """Observes ``http_request_duration_seconds``, whose ``_count`` is the number of requests.

    The package's own middleware matches every request against every route a second time, which takes as long as serving
    it. The gateway knows the route already.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._observe = metrics.latency(registry=registry, buckets=_BUCKETS)

    def observe(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request. The label ``handler`` is its route, never its path; ``none`` for no route."""
        assert self._observe is not None, "the registry had the metric already"
        self._observe(
            metrics.Info(
                request=cast("Any", None),  # the metric has no label that needs it
                response=None,
                method=method,
                modified_handler=route or "none",
                modified_status=f"{status // 100}xx",
                modified_duration=seconds,
            )
        )
