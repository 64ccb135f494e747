"""Lets a process end with the one that started it, however that one ended."""

import os
import signal
import threading
from datetime import timedelta


def stop_with_stdin(grace: timedelta) -> None:
    """Send SIGTERM to this process once its standard input is closed, and SIGKILL ``grace`` later.

    The other end of the pipe is held by nobody but the parent, so that it closes even when the parent is killed.
    """
    threading.Thread(target=_watch, args=(grace,), name="lifeline", daemon=True).start()


def _watch(grace: timedelta) -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    # Ends early with the process: the thread is a daemon.
    threading.Event().wait(grace.total_seconds())
    os.kill(os.getpid(), signal.SIGKILL)
