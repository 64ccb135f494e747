# ruff: noqa: INP001  # a script, no module
"""Exits 0 while the process of this container is up, be it the gateway or the consumer: one container runs one of them.

Liveness, not readiness: an engine that restarts what is unhealthy must not restart every container because SQS is away.
"""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

environ = os.environ  # noqa: TID251  # a script of the image, which imports no settings
gateway_port = environ.get("GATEWAY_METRICS_PORT") or environ.get("GATEWAY_PORT") or 8080
for port in (int(gateway_port), int(environ.get("CONSUMER_PORT") or 8081)):
    connection = HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", "/healthz")
        # Who is asked for a key (GATEWAY_METRICS_AUTH) has found somebody, too.
        if connection.getresponse().status in {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED}:
            sys.exit(0)
    except (OSError, HTTPException):
        continue
sys.exit(1)
