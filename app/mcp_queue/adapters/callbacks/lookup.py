"""Looks up the addresses of host names without threads that a slow name server could use up."""

import asyncio
import contextlib
import socket
from collections import Counter, OrderedDict
from collections.abc import Sequence
from datetime import timedelta

import pycares
from pycares import errno as ares

from mcp_queue.domain.errors import ResourcesExhaustedError
from mcp_queue.ports import Clock

#: How long a look-up may take before its name counts as slow. Less than a callback's time to connect.
LOOKUP_TIME = timedelta(seconds=5)
#: How long a slow name fails at once, in seconds.
SLOW_NAME_TIME = 30.0
#: Most look-ups under way below one parent domain: its name servers may all be slow.
MAX_PER_PARENT = 16
#: How long a look-up waits for others below the same parent domain. Most take a few milliseconds.
LONGEST_TURN = timedelta(seconds=0.5)
# How many slow names are remembered; clients choose them.
_SLOW_NAMES = 1000
# How long c-ares waits for one name server before it asks the next, in seconds, and how often it asks all of them.
_SERVER_TIMEOUT, _SERVER_TRIES = 2.0, 2
# This process cannot ask: it has no memory or descriptors, or reaches no name server at all.
_OURS = frozenset({ares.ARES_ENOMEM, ares.ARES_EFILE, ares.ARES_ECONNREFUSED})


class DnsLookup:
    """Asks ``/etc/hosts``, then the name servers and search domains of ``/etc/resolv.conf``.

    It uses c-ares, so a slow name costs no thread. Other sources of the system's own resolver (mDNS, LDAP) are not
    asked. Calls for the same name share one look-up.
    """

    def __init__(
        self, clock: Clock, *, servers: Sequence[str] | None = None, lookup_time: timedelta = LOOKUP_TIME
    ) -> None:
        """Ask ``servers`` (``address:port``) in place of those in ``/etc/resolv.conf``."""
        self._clock = clock
        self._servers = servers
        self._lookup_time = lookup_time
        self._channel: pycares.Channel | None = None
        self._under_way: dict[str, asyncio.Task[list[str]]] = {}
        self._below: Counter[str] = Counter()
        self._turns = asyncio.Condition()
        self._slow: OrderedDict[str, float] = OrderedDict()

    async def __call__(self, host: str) -> list[str]:
        """Return the addresses of ``host``.

        Raises:
            OSError: it has none, or its name servers did not answer in time, now or moments ago.
            ResourcesExhaustedError: too many look-ups below its parent domain are under way, or no name server can be
                asked at all.

        """
        if self._slow.get(host, 0.0) > self._clock.monotonic():
            raise OSError("the name servers of the name were too slow moments ago")
        if host not in self._under_way:
            parent = parent_of(host)
            await self._wait_for_turn(parent)
            if host not in self._under_way:  # another call may have begun it meanwhile
                self._begin(host, parent)
        # One caller that gives up must not end the look-up of the others.
        return await asyncio.shield(self._under_way[host])

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        if self._channel is not None:
            self._channel.close()

    async def _wait_for_turn(self, parent: str) -> None:
        try:
            async with asyncio.timeout(LONGEST_TURN.total_seconds()), self._turns:
                await self._turns.wait_for(lambda: self._below[parent] < MAX_PER_PARENT)
        except TimeoutError as error:
            message = f"too many names below {parent} are being looked up"
            raise ResourcesExhaustedError(message) from error

    def _begin(self, host: str, parent: str) -> None:
        self._below[parent] += 1
        task = self._under_way[host] = asyncio.create_task(self._look_up(host, parent), name="lookup")
        task.add_done_callback(_retrieve)

    async def _look_up(self, host: str, parent: str) -> list[str]:
        try:
            async with asyncio.timeout(self._lookup_time.total_seconds()):
                return await self._asked(host)
        except TimeoutError as error:
            self._remember_slow(host)
            raise OSError("the name servers of the name did not answer in time") from error
        finally:
            del self._under_way[host]
            self._below[parent] -= 1
            if not self._below[parent]:
                del self._below[parent]
            async with self._turns:
                self._turns.notify_all()

    async def _asked(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[pycares.AddrInfoResult | None, int | None]] = loop.create_future()

        def answered(found: pycares.AddrInfoResult | None, error: int | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(_set, answer, (found, error))

        self._opened().getaddrinfo(host, None, type=socket.SOCK_STREAM, callback=answered)
        found, error = await answer
        if error in _OURS:
            raise ResourcesExhaustedError("no name server of this machine can be asked")
        if error == ares.ARES_ETIMEOUT:
            raise TimeoutError
        if found is None:
            raise OSError("the name has no address")
        return [_text(node.addr[0]) for node in found.nodes]

    def _opened(self) -> pycares.Channel:
        if self._channel is None:
            try:
                self._channel = pycares.Channel(timeout=_SERVER_TIMEOUT, tries=_SERVER_TRIES, servers=self._servers)
            except pycares.AresError as error:
                raise ResourcesExhaustedError("no file descriptor or memory is left for look-ups") from error
        return self._channel

    def _remember_slow(self, host: str) -> None:
        self._slow[host] = self._clock.monotonic() + SLOW_NAME_TIME
        self._slow.move_to_end(host)
        if len(self._slow) > _SLOW_NAMES:
            self._slow.popitem(last=False)


def parent_of(host: str) -> str:
    """Return the domain whose owner chooses the name servers of ``host``: ``example.com``, or ``example.co.uk``."""
    labels = host.removesuffix(".").split(".")
    # Second-level registries: co.uk, com.au and the like, below two letters and with up to three of their own.
    deep = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3  # noqa: PLR2004  # explained above
    return ".".join(labels[-3 if deep else -2 :])


def _set(
    answer: "asyncio.Future[tuple[pycares.AddrInfoResult | None, int | None]]",
    outcome: tuple[pycares.AddrInfoResult | None, int | None],
) -> None:
    if not answer.done():
        answer.set_result(outcome)


def _retrieve(task: "asyncio.Task[list[str]]") -> None:
    """Read the outcome, which every caller may have given up: asyncio warns of an exception that nobody reads."""
    if not task.cancelled():
        task.exception()


def _text(address: str | bytes) -> str:
    return address.decode() if isinstance(address, bytes) else address
