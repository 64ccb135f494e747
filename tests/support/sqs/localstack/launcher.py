"""Starts LocalStack as a plain process. Runs in LocalStack's own virtual environment.

Its server ignores the host that it is told and would listen on every interface, so the endpoint is made to listen on
the loopback alone. It lives no longer than its standard input: a parent that is killed takes it along.
"""

import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable

from twisted.internet import endpoints  # type: ignore[import-not-found]  # of LocalStack's environment

from localstack.utils import scheduler  # type: ignore[import-not-found]  # of LocalStack's environment


class FrequentScheduler(scheduler.Scheduler):  # type: ignore[misc]  # of LocalStack's environment
    """Looks ten times a second for messages that come due, so that tests need not allow for a second each."""

    def schedule(self, func: Callable[[], None], period: float | None = None, **options: object) -> object:
        """Shorten the period."""
        return super().schedule(func, period=period and min(period, 0.1), **options)


class LoopbackEndpoint(endpoints.TCP4ServerEndpoint):  # type: ignore[misc]  # of LocalStack's environment
    """A server endpoint that binds 127.0.0.1 whatever it is asked for."""

    def __init__(self, reactor: object, port: int, backlog: int = 511, interface: str = "127.0.0.1") -> None:
        """Ignore the interface that the caller leaves empty."""
        super().__init__(reactor, port, backlog, interface or "127.0.0.1")


def end_with_parent() -> None:
    """Stop when standard input ends."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


scheduler.Scheduler = FrequentScheduler
endpoints.TCP4ServerEndpoint = LoopbackEndpoint
threading.Thread(target=end_with_parent, daemon=True).start()
sys.argv = ["localstack.runtime.main"]
runpy.run_module("localstack.runtime.main", run_name="__main__")
