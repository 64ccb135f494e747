"""Lets a connection speak HTTP/1.1 on after its client offered to speak something else."""

from typing import Any

import httptools

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


def ignore_offer(protocol: Any) -> None:
    """Give ``protocol`` a parser for what follows a head with an ``Upgrade`` header: its body, and further requests.

    A server may ignore such an offer, but then answers the request as it is (RFC 9110, section 7.8). The parser of
    ``protocol`` stops at the head instead and takes the rest for the other protocol. The first bytes that the new one
    reads are a head of the same framing, which ``protocol`` is not told of.
    """
    parser = httptools.HttpRequestParser(_AfterHead(protocol))
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    framing = b"".join(b"%b: %b\r\n" % header for header in protocol.headers if header[0] in _FRAMING)
    # Before the head is read, which ends a request without a body.
    protocol.parser = parser
    parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")


class _AfterHead:
    """Passes on what a parser reports after the first head."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._repeated = True
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if not self._repeated:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._repeated:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._repeated:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._repeated:
            self._protocol.on_headers_complete()
        self._repeated = False
