"""A name server on loopback that answers as a test says, late or not at all (RFC 1035)."""

import asyncio
from collections import Counter
from ipaddress import IPv4Address
from types import TracebackType
from typing import Self

from typing_extensions import override

_TYPE_A = 1
_NO_SUCH_NAME = 3


class NameServer(asyncio.DatagramProtocol):
    """Knows ``names``; those below ``.slow.example`` are answered never. An async context manager.

    ``asked`` counts the questions for IPv4 addresses of each name.
    """

    def __init__(self, **names: str) -> None:
        """Answer each of ``names`` with its address: ``a_example`` is the name ``a.example``."""
        self._names = {name.replace("_", "."): address for name, address in names.items()}
        self.asked: Counter[str] = Counter()
        self.address = ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        host, port = self._transport.get_extra_info("sockname")
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transport.close()

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, position = [], 12
        while data[position]:
            labels.append(data[position + 1 : position + 1 + data[position]].decode().lower())
            position += 1 + data[position]
        name, question = ".".join(labels), data[12 : position + 5]
        of_ipv4 = int.from_bytes(question[-4:-2]) == _TYPE_A
        if of_ipv4:
            self.asked[name] += 1
        if not name.endswith(".slow.example"):
            self._transport.sendto(self._answer(data[:2], name, question, of_ipv4=of_ipv4), addr)

    def _answer(self, number: bytes, name: str, question: bytes, *, of_ipv4: bool) -> bytes:
        address = self._names.get(name)
        records = b""
        if address is not None and of_ipv4:
            records = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + IPv4Address(address).packed
        flags = 0x8180 | (_NO_SUCH_NAME if address is None else 0)
        counts = (1, bool(records), 0, 0)
        return number + flags.to_bytes(2) + b"".join(count.to_bytes(2) for count in counts) + question + records
