"""Stops a process when its parent has ended, even if the parent was killed."""

import os
import signal
import threading
from datetime import timedelta


def stop_with_stdin(grace: timedelta) -> None:
    """Send SIGTERM to this process once its standard input is closed, and SIGKILL ``grace`` later.

    Only the parent holds the other end of the pipe. The system closes it when the parent ends.
    """
    threading.Thread(target=_watch, args=(grace,), name="parent-watch", daemon=True).start()


def _watch(grace: timedelta) -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    # A process that ends in time takes this thread with it: it is a daemon.
    threading.Event().wait(grace.total_seconds())
    os.kill(os.getpid(), signal.SIGKILL)
