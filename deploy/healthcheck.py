# ruff: noqa: INP001  # a script, no module
"""Exits 0 while the process of this container is up, be it the gateway or the consumer: one container runs one of them.

Liveness, not readiness: an engine that restarts what is unhealthy must not restart every container because SQS is away.
"""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

for name, default in (("GATEWAY_PORT", 8080), ("CONSUMER_PORT", 8081)):
    port = int(os.environ.get(name) or default)  # noqa: TID251  # a script of the image, which imports no settings
    connection = HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", "/healthz")
        if connection.getresponse().status == HTTPStatus.OK:
            sys.exit(0)
    except (OSError, HTTPException):
        continue
sys.exit(1)
