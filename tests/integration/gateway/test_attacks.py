"""Attacks on a gateway process with keys: its memory stays flat, and other clients are served meanwhile."""

import asyncio
import contextlib
import gzip
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from bench.processes import Service
from mcp_queue.domain.operators.keys import digest_of
from tests.support.gateway import bearer
from tests.support.http.application import PATIENCE
from tests.support.processes.stack import make_stack
from tests.support.waiting import pause

KEY = "attacker"
TASKS = "/v1/queues/tasks/tasks"
BATCH = f"{TASKS}/batch"
MEBIBYTE = 1024 * 1024
#: What the attacks may take together, a hundredth of what they send and less than one of them holds when it is let in:
#: the largest body, once more as text, and what the allocator keeps.
FLAT = 96 * MEBIBYTE


@dataclass
class Attacked:
    """A gateway under attack, and how much memory it had at most."""

    gateway: Service
    most: int = 0
    held: list[socket.socket] = field(default_factory=list)

    def memory(self) -> int:
        """Return the resident memory of the process in bytes; on Linux the most that it ever had."""
        assert self.gateway.process is not None
        status = Path(f"/proc/{self.gateway.process.pid}/status")
        if status.exists():
            found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
            assert found is not None
            return int(found[1]) * 1024
        command = ["ps", "-o", "rss=", "-p", str(self.gateway.process.pid)]
        return int(subprocess.run(command, check=True, capture_output=True).stdout) * 1024

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """Open a connection that is held until the end of the attack."""
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE)
        self.held.append(connection)
        connection.connect(("127.0.0.1", self.gateway.port))
        return connection

    def send(self, data: bytes, connection: socket.socket | None = None) -> None:
        """Send ``data``, or as much of it as the gateway takes."""
        with contextlib.suppress(ConnectionError):
            (connection or self.connect()).sendall(data)

    def send_on(self, data: bytes, repeated: bytes, times: int) -> bytes:
        """Send ``data`` and after it ``repeated``, up to ``times``; return the answer, empty where there is none."""
        connection = self.connect()
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            for _ in range(times):
                connection.sendall(repeated)
        with contextlib.suppress(ConnectionError):
            return connection.recv(65536)
        return b""


@pytest.fixture
async def attacked(tmp_path: Path) -> AsyncIterator[Attacked]:
    """Run a gateway that has been used a little."""
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"- {{name: ci, hash: 'sha256:{digest_of(KEY.encode()).hex()}', scopes: [enqueue]}}\n")
    gateway = make_stack(tmp_path, GATEWAY_API_KEYS_FILE=str(keys)).gateway
    await gateway.start()
    attacked = Attacked(gateway)
    try:
        yield attacked
    finally:
        for connection in attacked.held:
            connection.close()
        await gateway.stop()


def head(path: str, *lines: str, key: str = KEY) -> bytes:
    """Return the head of a POST."""
    own = ["Host: t", f"Authorization: Bearer {key}", "Content-Type: application/json"]
    return "\r\n".join([f"POST {path} HTTP/1.1", *own, *lines, "", ""]).encode()


def slow_loris(target: Attacked) -> None:
    """Hold many connections with half a head, half a body, or nothing at all."""
    for number in range(900):
        part = (b"", b"POST /v1", head(TASKS, "Content-Length: 1000") + b"{")[number % 3]
        target.send(part)


def giant(target: Attacked) -> None:
    """Send a gibibyte: announced, and in chunks without end, with a key and without."""
    chunk = b"100000\r\n" + b" " * MEBIBYTE + b"\r\n"
    for path in (TASKS, BATCH):
        assert b" 413 " in target.send_on(head(path, f"Content-Length: {1024 * MEBIBYTE}"), b" " * MEBIBYTE, 1024)
        assert b" 413 " in target.send_on(head(path, "Transfer-Encoding: chunked"), chunk, 1024)
    assert b" 401 " in target.send_on(head(TASKS, "Transfer-Encoding: chunked", key="none"), chunk, 1024)


def twisted_json(target: Attacked) -> None:
    """Send JSON that is 100,000 levels deep, has a million keys, or is as dense as possible."""
    keys = b'{"type":"a","payload":{' + b",".join(b'"%d":1' % key for key in range(1_000_000)) + b"}}"
    for status, body in (
        (400, b"[" * 100_000),
        (400, b'{"a":' * 100_000),
        (413, b'{"tasks":[' + keys + b"]}"),
        (413, b'{"tasks":[' + b",".join([b"{}"] * 5_000_000) + b"]}"),
        (400, b"[" + b"1" * 10_000_000 + b"]"),
    ):
        answer = target.send_on(head(BATCH, f"Content-Length: {len(body)}"), body, 1)
        assert f" {status} ".encode() in answer
    assert b" 413 " in target.send_on(head(TASKS, f"Content-Length: {len(keys)}"), keys, 1)


def zip_bomb(target: Attacked) -> None:
    """Send a body that says to be compressed: 256 MiB of nothing."""
    bomb = gzip.compress(bytes(256 * MEBIBYTE), 9)
    for encoding in ("gzip", "deflate", "br", "zstd", "identity", "gzip, gzip"):
        sent = head(BATCH, f"Content-Encoding: {encoding}", f"Content-Length: {len(bomb)}")
        assert b" 415 " in target.send_on(sent, bomb, 1)
    # Nobody unpacks what does not say that it is packed.
    assert b" 400 " in target.send_on(head(BATCH, f"Content-Length: {len(bomb)}"), bomb, 1)


def header_flood(target: Attacked) -> None:
    """Send headers without end, before the body and behind it, and requests without end."""
    for repeated in (b"X-Header: " + b"x" * 8000 + b"\r\n", b"a: b\r\n" * 1000, b"x" * 8000):
        target.send_on(b"GET /healthz HTTP/1.1\r\n", repeated, 20_000)
        target.send_on(head(TASKS, "Transfer-Encoding: chunked") + b"1\r\n{\r\n0\r\n", repeated, 20_000)
    target.send_on(b"", b"GET /healthz HTTP/1.1\r\n\r\n" * 1000, 10_000)


def slow_reader(target: Attacked) -> None:
    """Ask for the largest answer again and again, and read none."""
    for _ in range(300):
        target.send(b"GET /openapi.json HTTP/1.1\r\nHost: t\r\n\r\n" * 20, target.connect(receive_buffer=1024))


@contextlib.contextmanager
def closing(target: Attacked) -> Iterator[None]:
    """Close every connection at the end of an attack."""
    try:
        yield
    finally:
        while target.held:
            target.held.pop().close()


async def serve_others(target: Attacked, over: asyncio.Event) -> int:
    """Enqueue one task after another until the attack is over; return how many."""
    served = 0
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(target.gateway.url, headers=bearer(KEY), timeout=timeout) as session:
        while not over.is_set() or served < 10:
            # A new connection each time: one that is open is no proof that others come in.
            async with session.post(TASKS, json={"type": "echo"}, headers={"Connection": "close"}) as answer:
                assert 202 == answer.status
            served += 1
            target.most = max(target.most, target.memory())
            await pause()
    return served


@pytest.mark.parametrize(
    "attack", [slow_loris, giant, twisted_json, zip_bomb, header_flood, slow_reader], ids=lambda attack: attack.__name__
)
@pytest.mark.timeout(120)
async def test_attack_takes_no_memory_and_no_client_away(
    attacked: Attacked, attack: Callable[[Attacked], None]
) -> None:
    """Others enqueue their tasks while it goes on, and the process is no larger for it afterwards."""
    over = asyncio.Event()
    others = asyncio.create_task(serve_others(attacked, over))
    before = attacked.memory()
    try:
        with closing(attacked):
            await asyncio.to_thread(attack, attacked)
            over.set()
            served = await others
    finally:
        over.set()
        others.cancel()
    assert served >= 10
    assert attacked.most - before < FLAT, f"{(attacked.most - before) / MEBIBYTE:.0f} MiB more"
