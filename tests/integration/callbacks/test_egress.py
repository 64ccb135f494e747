"""No callback reaches an address that it may not, however its URL is written or its name resolves."""

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import pytest

from mcp_queue.adapters.callbacks.resolver import CheckedResolver, Lookup
from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.domain.callbacks.addresses import EgressPolicy
from mcp_queue.domain.errors import CallbackFailedError, RefusedAddressError
from mcp_queue.testing import FakeClock
from tests.support.http.addresses import AS_WRITTEN, RESOLVED
from tests.support.http.callbacks import LOOPBACK, Names, a_request, tls_for
from tests.support.http.receiver import Answer, Receiver
from tests.support.metrics import CountingMetrics

NOTHING_ALLOWED = EgressPolicy()


def opened(lookup: Lookup, policy: EgressPolicy = NOTHING_ALLOWED) -> AiohttpCallbackSender:
    """Return a sender that resolves names by ``lookup``."""
    return AiohttpCallbackSender(policy, FakeClock(), CountingMetrics(), lookup=lookup)


async def like_the_system(host: str) -> Sequence[str]:
    """Resolve every spelling of an address as the C library does, and every name to this machine."""
    try:
        return [socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))]
    except OSError:
        return ["127.0.0.1"]


@pytest.mark.parametrize("url", AS_WRITTEN)
async def test_no_spelling_of_a_url_reaches_this_machine(url: str) -> None:
    """Even if a resolver would make an address of it."""
    async with opened(like_the_system) as sender:
        with pytest.raises(RefusedAddressError):
            await sender.send(a_request(url))


@pytest.mark.parametrize("address", RESOLVED)
async def test_a_name_with_a_refused_address_is_refused_without_telling_it(address: str) -> None:
    """Or a client could map the networks behind this service."""
    outcomes = CountingMetrics()
    async with AiohttpCallbackSender(NOTHING_ALLOWED, FakeClock(), outcomes, lookup=Names([address])) as sender:
        with pytest.raises(RefusedAddressError) as caught:
            await sender.send(a_request("https://hooks.example/"))

    assert str(caught.value) == "the URL's host has no address that this service may call"
    assert Counter({"refused": 1}) == outcomes.callbacks


async def test_of_a_names_addresses_only_the_allowed_are_connected_to(receiver: Receiver) -> None:
    """A refused one among them does not spoil the others, nor profit from them."""
    names = Names(["127.0.0.66", "::1", "127.0.0.1"])
    policy = EgressPolicy(allowed_networks=(ip_network("127.0.0.1/32"),))

    async with opened(names, policy) as sender, Receiver(host="127.0.0.66") as forbidden:
        await sender.send(a_request(receiver.url(host="hooks.example")))
        with pytest.raises(CallbackFailedError):
            await sender.send(a_request(forbidden.url(host="hooks.example")))

    assert len(receiver.requests) == 1
    assert forbidden.requests == []


async def test_a_name_is_resolved_once_and_connected_to_as_checked() -> None:
    """A name that answers with another address the second time gains nothing by it."""
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    policy = EgressPolicy(allowed_networks=(ip_network("127.0.0.2/32"),))

    async with Receiver(host="127.0.0.2") as public, opened(names, policy) as sender:
        await sender.send(a_request(public.url(host="rebind.example")))
        assert ["rebind.example"] == names.asked
        assert len(public.requests) == 1

    async with opened(names, policy) as sender:
        with pytest.raises(RefusedAddressError):
            await sender.send(a_request(f"http://rebind.example:{public.port}/"))


async def test_the_receiver_sees_the_name_it_was_called_by(receiver: Receiver) -> None:
    """The connection goes to an address, the request to a host."""
    async with opened(Names(["127.0.0.1"]), LOOPBACK) as sender:
        await sender.send(a_request(receiver.url(host="Hooks.EXAMPLE")))

    assert f"hooks.example:{receiver.port}" == receiver.requests[0].headers["host"]


async def test_a_redirect_to_this_machine_is_not_followed(receiver: Receiver) -> None:
    """Its target is never looked at."""
    receiver.script("/", Answer(status=302, headers={"Location": "http://127.0.0.1/"}))
    policy = EgressPolicy(allowed_networks=(ip_network("127.0.0.1/32"),))
    names = Names(["127.0.0.1"])

    async with opened(names, policy) as sender:
        with pytest.raises(Exception, match="redirects are not followed"):
            await sender.send(a_request(receiver.url(host="hooks.example")))

    assert len(receiver.requests) == 1


async def test_tls_is_verified_for_the_name(tmp_path: Path) -> None:
    """Though the connection goes to an address."""
    server, client = tls_for("hooks.example", tmp_path)
    async with (
        Receiver(tls=server) as receiver,
        AiohttpCallbackSender(
            LOOPBACK, FakeClock(), CountingMetrics(), tls=client, lookup=Names(["127.0.0.1"])
        ) as sender,
    ):
        await sender.send(a_request(receiver.url(host="hooks.example")))
        await sender.send(a_request(receiver.url(host="hooks.example.")))
        with pytest.raises(CallbackFailedError, match="certificate is not valid for its host"):
            await sender.send(a_request(receiver.url(host="other.example")))
        with pytest.raises(CallbackFailedError, match="certificate is not valid for its host"):
            await sender.send(a_request(receiver.url()))

    assert len(receiver.requests) == 2


async def test_an_unknown_authority_is_not_trusted(tmp_path: Path, sender: AiohttpCallbackSender) -> None:
    """The system's certificates decide unless the operator brings others."""
    server, _ = tls_for("127.0.0.1", tmp_path)
    async with Receiver(tls=server) as receiver:
        with pytest.raises(CallbackFailedError, match="certificate is not valid"):
            await sender.send(a_request(receiver.url()))


async def test_https_to_a_plain_port_is_a_failed_handshake(receiver: Receiver, sender: AiohttpCallbackSender) -> None:
    """Retryable: the receiver may be set up wrongly for the moment."""
    with pytest.raises(CallbackFailedError, match="TLS handshake failed"):
        await sender.send(a_request(f"https://127.0.0.1:{receiver.port}/"))


async def no_addresses(host: str) -> Sequence[str]:
    """Know the name and no address of it."""
    return []


@pytest.mark.parametrize("lookup", [Names([]), no_addresses])
async def test_a_name_without_an_address_is_a_failed_connection(lookup: Lookup) -> None:
    """It may get one."""
    async with opened(lookup) as sender:
        with pytest.raises(CallbackFailedError, match="host name could not be resolved"):
            await sender.send(a_request("http://nowhere.example/"))


async def test_names_resolve_side_by_side() -> None:
    """One that takes its time holds up nobody."""
    release = asyncio.Event()

    async def lookup(host: str) -> Sequence[str]:
        if host == "slow.example":
            await release.wait()
        return ["127.0.0.1"]

    resolver = CheckedResolver(LOOPBACK, lookup)
    slow = asyncio.ensure_future(resolver.resolve("slow.example", 80))
    (found,) = await resolver.resolve("quick.example", 80)

    assert ("127.0.0.1", 80, slow.done()) == (found["host"], found["port"], False)
    release.set()
    await slow
    await resolver.close()
