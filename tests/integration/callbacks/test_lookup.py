"""Look-ups of host names at a real name server, some of them slow."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from mcp_queue.adapters.callbacks.lookup import MAX_PER_PARENT, SLOW_NAME_TIME, DnsLookup, parent_of
from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.domain.callbacks.destinations import call_failed
from mcp_queue.domain.errors import CallbackFailedError, ResourcesExhaustedError
from mcp_queue.testing import FakeClock
from tests.support.descriptors import no_descriptor_left
from tests.support.http.application import PATIENCE
from tests.support.http.callbacks import LOOPBACK, a_request
from tests.support.http.dns import NameServer
from tests.support.http.receiver import Receiver
from tests.support.metrics import CountingMetrics

BRIEF = timedelta(milliseconds=100)


@contextlib.asynccontextmanager
async def looking_up(
    server: NameServer, clock: FakeClock | None = None, lookup_time: timedelta = timedelta(seconds=PATIENCE)
) -> AsyncIterator[DnsLookup]:
    """Return look-ups at ``server``."""
    lookup = DnsLookup(clock or FakeClock(), servers=[server.address], lookup_time=lookup_time)
    try:
        yield lookup
    finally:
        await lookup.close()


async def test_names_of_this_machine_are_known_without_a_name_server() -> None:
    """They stand in /etc/hosts."""
    async with NameServer() as server, looking_up(server) as lookup:
        assert "127.0.0.1" in await lookup("localhost")
        assert not server.asked


async def test_a_name_is_asked_for_at_the_name_server() -> None:
    """What it does not know has no address."""
    async with NameServer(hooks_example="192.0.2.7") as server, looking_up(server) as lookup:
        assert await lookup("hooks.example") == ["192.0.2.7"]
        for unknown in ("other.example", "no such name"):
            with pytest.raises(OSError, match="no address"):
                await lookup(unknown)


async def test_calls_for_one_name_share_a_look_up() -> None:
    """A caller that gives up leaves it to the others."""
    async with NameServer(hooks_example="192.0.2.7") as server, looking_up(server) as lookup:
        impatient, *others = [asyncio.create_task(lookup("hooks.example")) for _ in range(5)]
        await asyncio.sleep(0)
        impatient.cancel()

        assert [["192.0.2.7"]] * 4 == await asyncio.gather(*others)
        assert server.asked["hooks.example"] == 1


async def test_slow_names_hold_up_no_healthy_one() -> None:
    """However many there are: 40 of them once used up the threads of the system's resolver."""
    async with (
        Receiver() as receiver,
        NameServer(hooks_example="127.0.0.1") as server,
        looking_up(server) as lookup,
        AiohttpCallbackSender(LOOPBACK, FakeClock(), CountingMetrics(), lookup=lookup) as sender,
    ):
        slow = [asyncio.create_task(sender.send(a_request(f"http://h{n}.slow{n}.example/"))) for n in range(10)]
        slow += [asyncio.create_task(sender.send(a_request(f"http://h{n}.slow.example/"))) for n in range(200)]
        await asyncio.sleep(0)
        async with asyncio.timeout(2):
            assert (await sender.send(a_request(receiver.url(host="hooks.example")))).status == 200
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_too_many_slow_names_of_one_domain_are_put_off() -> None:
    """That they wait for each other is no fault of theirs: it counts against nobody. Other domains go on."""
    outcomes = CountingMetrics()
    async with (
        NameServer(hooks_example="127.0.0.1") as server,
        looking_up(server) as lookup,
        AiohttpCallbackSender(LOOPBACK, FakeClock(), outcomes, lookup=lookup) as sender,
    ):
        slow = [asyncio.create_task(lookup(f"h{number}.slow.example")) for number in range(MAX_PER_PARENT)]
        await asyncio.sleep(0)
        with pytest.raises(ResourcesExhaustedError, match=r"below slow\.example") as caught:
            await sender.send(a_request("http://one-more.slow.example/"))

        assert call_failed(caught.value) is None
        assert outcomes.callbacks == {"deferred": 1}
        assert await lookup("hooks.example") == ["127.0.0.1"]
        for task in slow:
            task.cancel()


async def test_many_names_of_one_domain_take_turns() -> None:
    """Where its name servers answer, nothing is put off."""
    names = {f"t{number}_tenants_example": "192.0.2.7" for number in range(100)}
    async with NameServer(**names) as server, looking_up(server) as lookup:
        found = await asyncio.gather(*(lookup(name.replace("_", ".")) for name in names))
    assert [["192.0.2.7"]] * 100 == found


async def test_a_slow_name_fails_at_once_for_a_while() -> None:
    """It would only keep another slot waiting; then it has another chance."""
    clock = FakeClock()
    async with NameServer() as server, looking_up(server, clock, BRIEF) as lookup:
        with pytest.raises(OSError, match="did not answer in time"):
            await lookup("a.slow.example")
        asked = server.asked["a.slow.example"]

        with pytest.raises(OSError, match="moments ago"):
            await lookup("a.slow.example")
        assert server.asked["a.slow.example"] == asked

        await clock.advance(timedelta(seconds=SLOW_NAME_TIME))
        with pytest.raises(OSError, match="did not answer in time"):
            await lookup("a.slow.example")
        assert server.asked["a.slow.example"] > asked


async def test_a_slow_name_is_a_failed_call() -> None:
    """Its owner can mend it."""
    async with (
        NameServer() as server,
        looking_up(server, lookup_time=BRIEF) as lookup,
        AiohttpCallbackSender(LOOPBACK, FakeClock(), CountingMetrics(), lookup=lookup) as sender,
    ):
        with pytest.raises(CallbackFailedError, match="host name could not be resolved"):
            await sender.send(a_request("http://a.slow.example/"))


async def test_a_name_server_that_is_not_there_puts_the_call_off() -> None:
    """It is this machine's, not the destination's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    lookup = DnsLookup(FakeClock(), servers=[address])

    with pytest.raises(ResourcesExhaustedError, match="no name server"):
        await lookup("hooks.example")
    await lookup.close()


@pytest.mark.parametrize("used_before", [False, True])
async def test_a_process_without_descriptors_puts_the_call_off(*, used_before: bool) -> None:
    """It cannot ask, whatever the name."""
    async with NameServer(hooks_example="192.0.2.7") as server, looking_up(server) as lookup:
        if used_before:
            await lookup("localhost")
        with no_descriptor_left(), pytest.raises(ResourcesExhaustedError):
            await lookup("hooks.example")
        assert await lookup("hooks.example") == ["192.0.2.7"]


@pytest.mark.parametrize(
    ("host", "parent"),
    [
        ("a.b.example.com", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("a.example.co.uk", "example.co.uk"),
        ("a.b.example.io", "example.io"),
    ],
)
def test_the_parent_domain_is_what_its_owner_registered(host: str, parent: str) -> None:
    """As far as names tell without the list of public suffixes."""
    assert parent_of(host) == parent
