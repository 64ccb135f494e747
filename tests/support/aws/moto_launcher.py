"""Starts moto's server as a plain process on a free port of the loopback, which it prints.

The server lives no longer than its standard input: a parent that is killed takes it along.
"""

import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server


def end_with_parent() -> None:
    """End the process when standard input ends."""
    sys.stdin.buffer.read()
    os._exit(0)


class QuietHandler(MotoRequestHandler):
    """Writes no access log."""

    def log_request(self, *_: object) -> None:
        """Write nothing."""


server = make_server(
    "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True, request_handler=QuietHandler
)
print(server.server_port, flush=True)  # noqa: T201  # the parent reads it
threading.Thread(target=end_with_parent, daemon=True).start()
server.serve_forever()
