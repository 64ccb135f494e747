"""Measures requests, with the metric and labels of prometheus-fastapi-instrumentator."""

from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import metrics
from starlette.requests import Request
from starlette.types import Scope

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class HttpMetrics:
    """Observes ``http_request_duration_seconds``, whose ``_count`` is the number of requests.

    The package's own middleware matches every request against every route again, which takes as long as serving it.
    Here the router has already found the route.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metric."""
        self._observe = metrics.latency(registry=registry, buckets=_BUCKETS)

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request that took ``seconds``. The label ``handler`` is its route, never its path."""
        if self._observe is None:  # another application has registered the metric
            return
        route = scope.get("route")
        self._observe(
            metrics.Info(
                request=Request(scope),
                response=None,
                method=scope["method"],
                modified_handler="none" if route is None else route.path,
                modified_status=f"{status // 100}xx",
                modified_duration=seconds,
            )
        )
