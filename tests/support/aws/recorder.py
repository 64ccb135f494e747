"""A server that records requests to the byte, and checks their signatures as AWS does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from unittest.mock import patch

import botocore.auth
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from multidict import CIMultiDict

from tests.support.aws.wire import CONTENT_TYPE, Answer

#: What the tests sign with.
ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@dataclass(frozen=True)
class Seen:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes

    @property
    def authorization(self) -> dict[str, str]:
        """The members of the Authorization header."""
        _, _, rest = self.headers["Authorization"].partition(" ")
        return dict(part.strip().split("=", 1) for part in rest.split(","))

    @property
    def signed_headers(self) -> list[str]:
        """The names of the headers that the signature covers."""
        return self.authorization["SignedHeaders"].split(";")

    def signature_holds(self) -> bool:
        """Whether botocore's signer makes the same signature of what came."""
        signed = {name: self.headers[name] for name in self.signed_headers}
        moment = datetime.strptime(signed.pop("x-amz-date"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        token = signed.pop("x-amz-security-token", None)
        scope = self.authorization["Credential"].split("/")
        url = f"http://{signed.pop('host')}{self.target}"
        request = AWSRequest(method=self.method, url=url, headers=signed, data=self.body)
        with patch.object(botocore.auth, "get_current_datetime", lambda: moment):
            SigV4Auth(ReadOnlyCredentials(ACCESS_KEY, SECRET_KEY, token), scope[3], scope[2]).add_auth(request)
        return bool(request.headers["Authorization"] == self.headers["Authorization"])


@dataclass
class Recorder:
    """Gives every request the same answer, and remembers it."""

    url: str = ""
    answer: Answer = field(default_factory=lambda: Answer(200, {"Content-Type": CONTENT_TYPE}, b"{}"))
    seen: list[Seen] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Record and answer."""
        body = await request.read()
        self.seen.append(Seen(request.method, request.raw_path, CIMultiDict(request.headers), body))
        return web.Response(status=self.answer.status, headers=self.answer.headers, body=self.answer.body)


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    """Run a recording server on a free port of the loopback."""
    recording = Recorder()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", recording.handle)
    runner = web.AppRunner(application, access_log=None, auto_decompress=False, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        recording.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield recording
    finally:
        await runner.cleanup()
