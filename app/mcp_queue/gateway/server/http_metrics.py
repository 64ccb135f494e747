"""HTTP metrics, named and labelled by prometheus-fastapi-instrumentator."""

from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import metrics
from starlette.requests import Request
from starlette.types import Scope

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class HttpMetrics:
    """Observes ``http_request_duration_seconds``, whose ``_count`` is the number of requests.

    The package's own middleware matches every request against every route once more, which takes as long as to
    serve it; here the router has already said which route it was.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metric."""
        self._observe = metrics.latency(registry=registry, buckets=_BUCKETS)

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request that took ``seconds``; the label ``handler`` is its route, never its path."""
        if self._observe is None:  # the registry has the metric already, of another application
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
