"""Tells apart what this process lacks from what is wrong with a destination."""

import errno

_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


def lacks_resources(error: BaseException) -> bool:
    """Whether ``error`` says that this process has no file descriptor or memory left."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OURS)
