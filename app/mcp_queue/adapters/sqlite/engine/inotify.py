"""Asks Linux to tell when a file is written to."""

import ctypes
import errno
import os
import sys
from pathlib import Path

_MODIFIED = 0x00000002  # IN_MODIFY of <sys/inotify.h>
_EVENTS_BYTES = 64 * 1024


class Writes:
    """Readable, as sockets are, once somebody on this machine has written to the file. Source: inotify(7)."""

    def __init__(self, path: Path) -> None:
        """Begin to listen.

        Raises:
            OSError: the file is not there, or the system tells nobody of writes.

        """
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        if libc.inotify_add_watch(self._descriptor, os.fsencode(path), _MODIFIED) < 0:
            self.close()
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))

    def fileno(self) -> int:
        """Return what an event loop waits for."""
        return self._descriptor

    def forget(self) -> bool:
        """Be unreadable until the next write; return whether there was one since the last time."""
        try:
            return bool(os.read(self._descriptor, _EVENTS_BYTES))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Stop listening."""
        os.close(self._descriptor)
