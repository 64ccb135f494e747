"""The memory of a process: how much it had at most, and a limit on it."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_GROUPS = Path("/sys/fs/cgroup")


def peak_memory(pid: int) -> int:
    """Return the most resident memory that the process ever had, in bytes. Linux only."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("only Linux says how much memory a process had at most")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Path | None]:
    """Make a control group that may have ``limit`` bytes; yield ``None`` where none can be made."""
    try:
        parent, limit_file = _own_group()
        group = parent / f"mcp-queue-test-{os.getpid()}"
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        (group / limit_file).write_text(str(limit))
        yield group
    except OSError:
        yield None
    finally:
        group.rmdir()


@contextlib.contextmanager
def inside(group: Path) -> Iterator[None]:
    """Let the processes that are started while the context is open belong to ``group``."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (group.parent / "cgroup.procs").write_text(str(os.getpid()))


def _own_group() -> tuple[Path, str]:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return _GROUPS / "memory" / path.lstrip("/"), "memory.limit_in_bytes"
        if not controllers and (_GROUPS / path.lstrip("/") / "memory.max").exists():
            return _GROUPS / path.lstrip("/"), "memory.max"
    raise FileNotFoundError
