"""The command line as users run it: a process of its own, against a gateway that only pretends."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.tools import ROOT

#: How long any command of the tests may take.
PATIENCE = 30.0


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    exit_code: int
    out: str
    err: str


def environment(**variables: str) -> dict[str, str]:
    """Return an environment without any settings of the machine's, with ``variables``."""
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "120", **variables}


async def run_cli(*arguments: str, stdin: bytes = b"", **variables: str) -> Finished:
    """Run one command to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mcp_queue", *arguments,
        env=environment(**variables),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(stdin), PATIENCE)
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


@dataclass(frozen=True)
class Received:
    """A request that the pretended gateway got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[Received], web.Response]


@dataclass
class PretendedGateway:
    """Answers what a test tells it to, and remembers what it was asked."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def on(self, method: str, path: str, answer: Answer | web.Response) -> None:
        """Answer requests to ``path``, its query included, with ``answer``."""
        self.answers[method, path] = answer if callable(answer) else lambda _: answer

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        received = Received(request.method, request.path_qs, request.headers, await request.read())
        self.requests.append(received)
        answer = self.answers.get((request.method, request.path_qs))
        return answer(received) if answer else problem(404, "not_found", "there is no such route")

    async def run_cli(self, *arguments: str, stdin: bytes = b"", **variables: str) -> Finished:
        """Run one command against this gateway."""
        return await run_cli(*arguments, stdin=stdin, MCP_QUEUE_URL=self.url, **variables)


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error as the gateway answers it."""
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


@asynccontextmanager
async def pretended_gateway() -> AsyncIterator[PretendedGateway]:
    """Run a pretended gateway on a free port."""
    gateway = PretendedGateway()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", gateway.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        gateway.url = f"http://{host}:{port}"
        yield gateway
    finally:
        await runner.cleanup()
