"""Learns from Linux when a file is written to."""

import ctypes
import errno
import os
import sys
from pathlib import Path

_MODIFIED = 0x00000002  # IN_MODIFY of <sys/inotify.h>
_EVENTS_BYTES = 64 * 1024


class WriteNotifications:
    """A descriptor that becomes readable when a process of this machine writes to the file. Source: inotify(7)."""

    def __init__(self, path: Path) -> None:
        """Watch ``path``.

        Raises:
            OSError: the file does not exist, or the system has no such notifications.

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
        """Return the descriptor for the event loop."""
        return self._descriptor

    def drain(self) -> bool:
        """Discard pending notifications; return whether there were any."""
        try:
            return bool(os.read(self._descriptor, _EVENTS_BYTES))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)
