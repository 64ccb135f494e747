"""Clients of other languages, as they come, enqueue a task. Some offer to speak HTTP/2 with every request."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.gateway import GatewayKit
from tests.support.http.application import connected, post, serving

TASKS = "/v1/queues/tasks/tasks"
TASK = b'{"type": "echo", "payload": "hello"}'
OFFER = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
#: Seconds that a compiler and its program may take.
COMPILING = 60

_CURL = ["curl", "--silent", "--http2", "--header", "Content-Type: application/json", "--data", TASK.decode()]
_NODE = """
fetch(process.argv[1], {method: "POST", headers: {"Content-Type": "application/json"}, body: process.argv[2]})
  .then(answer => answer.text()).then(console.log);
"""
_JAVA = """
import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(arguments[1])).build();
        var client = HttpClient.newHttpClient();
        client.send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
    }
}
"""
_GO = """
package main

import ("fmt"; "io"; "net/http"; "os"; "strings")

func main() {
	answer, err := http.Post(os.Args[1], "application/json", strings.NewReader(os.Args[2]))
	if err != nil { panic(err) }
	body, _ := io.ReadAll(answer.Body)
	fmt.Println(string(body))
}
"""


def command(program: str, directory: Path, url: str) -> Sequence[str]:
    """Return how ``program`` posts the task to ``url``."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    if program == "curl":
        return [*_CURL, url]
    if program == "node":
        return ["node", "--eval", _NODE, url, TASK.decode()]
    if program == "javac":
        (directory / "Client.java").write_text(_JAVA)
        return ["java", str(directory / "Client.java"), url, TASK.decode()]
    (directory / "client.go").write_text(_GO)
    return ["go", "run", str(directory / "client.go"), url, TASK.decode()]


@pytest.mark.parametrize("program", ["curl", "node", "javac", "go"])
async def test_client_enqueues(program: str, tmp_path: Path) -> None:
    """The client gets the task that it sent."""
    async with serving(GatewayKit().app) as server:
        process = await asyncio.create_subprocess_exec(
            *command(program, tmp_path, f"{server.url}{TASKS}"), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(COMPILING):
            output, _ = await process.communicate()
    assert b'"status":"queued"' in output
    assert b'"payload":"hello"' in output


async def test_offer_to_upgrade_is_ignored() -> None:
    """The request is answered over HTTP/1.1, and so is each one behind it."""
    offering = post(TASKS, TASK).replace(b"Host: test\r\n", f"Host: test\r\n{OFFER}".encode())
    async with serving(GatewayKit().app) as server, connected(server) as client:
        await client.send(offering + offering + post(TASKS, TASK) + b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
        assert [202, 202, 202, 200] == [(await client.answer()).status for _ in range(4)]


async def test_offer_without_a_body_is_ignored() -> None:
    """A GET has nothing behind its head."""
    async with serving(GatewayKit().app) as server, connected(server) as client:
        for _ in range(2):
            await client.send(f"GET /healthz HTTP/1.1\r\nHost: t\r\n{OFFER}\r\n".encode())
            assert 200 == (await client.answer()).status


async def test_body_behind_an_offer_may_come_in_pieces() -> None:
    """Its head, its chunks and its end may each come by themselves."""
    head = f"POST {TASKS} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    async with serving(GatewayKit().app) as server, connected(server) as client:
        for piece in (head.encode(), OFFER.encode(), b"\r\n", b"5\r\n" + TASK[:5], b"\r\n%x\r\n" % len(TASK[5:])):
            await client.send(piece)
        await client.send(TASK[5:] + b"\r\n0\r\n\r\n")
        assert "hello" == (await client.answer()).json()["payload"]
