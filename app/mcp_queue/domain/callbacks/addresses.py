"""Which URLs and addresses this service may call for a client: the rules against server-side request forgery.

Two checks belong together. ``check_url`` judges a URL as it is written, at enqueue and before each call.
``refusal`` judges the addresses that its name resolves to, right before the connection to exactly those.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from mcp_queue.domain.errors import RefusedAddressError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

MAX_URL_LENGTH = 2048
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """What the operator adds to the rules, or takes away.

    ``allowed_networks`` may be called although the rules refuse them. ``allowed_ports`` and ``allowed_hosts`` narrow
    what may be called where they are not empty; a host is a name in
    lower case, or ``*.example.com`` for every name below it.
    """

    allowed_networks: tuple[Network, ...] = ()
    allowed_ports: frozenset[int] = frozenset()
    allowed_hosts: frozenset[str] = frozenset()
    require_https: bool = False


#: Refuses no address: for URLs that the operator chose.
ANYWHERE: Final = EgressPolicy(allowed_networks=(IPv4Network("0.0.0.0/0"), IPv6Network("::/0")))


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a URL leads: a name in lower case, or an address in its shortest spelling and without brackets."""

    scheme: str
    host: str
    port: int


def check_url(url: str, policy: EgressPolicy) -> Destination:
    """Return where ``url`` leads if it may be called as it is written; what its name resolves to is not looked at.

    Raises:
        RefusedAddressError: it may not; the message says which rule it breaks.

    """
    scheme, authority = _split(url)
    if scheme not in _DEFAULT_PORTS:
        raise RefusedAddressError("the URL is not http or https")
    if policy.require_https and scheme != "https":
        raise RefusedAddressError("the URL is not https")
    if "@" in authority:
        raise RefusedAddressError("the URL holds credentials; put them into headers")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise RefusedAddressError("the URL's host and port cannot be read")
    host = _host(match["host"], policy)
    return Destination(scheme, host, _port(match["port"], scheme, policy))


# What parsers drop, repair or read differently from each other. A parser that sees another host than this one does
# would undo every check.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{0,5}))?")


def _split(url: str) -> tuple[str, str]:
    if len(url) > MAX_URL_LENGTH:
        message = f"the URL is longer than {MAX_URL_LENGTH} characters"
        raise RefusedAddressError(message)
    if _AMBIGUOUS.search(url):
        raise RefusedAddressError("the URL holds white space, a control character or a backslash")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise RefusedAddressError("the URL cannot be read") from error
    return parts.scheme, parts.netloc


def _port(written: str | None, scheme: str, policy: EgressPolicy) -> int:
    port = int(written) if written else _DEFAULT_PORTS[scheme]
    if not 0 < port <= _MAX_PORT:
        raise RefusedAddressError("the URL's port is not one from 1 to 65535")
    if policy.allowed_ports and port not in policy.allowed_ports:
        message = f"port {port} is not one of the allowed ports"
        raise RefusedAddressError(message)
    return port


_NAME = re.compile(r"(?=.{1,254}$)(?:[a-z0-9_][a-z0-9_-]{0,62}\.)*[a-z0-9_][a-z0-9_-]{0,62}\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOOPBACKS = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


def _host(written: str, policy: EgressPolicy) -> str:
    host = written.lower()
    if not host:
        raise RefusedAddressError("the URL has no host")
    if not host.isascii():
        raise RefusedAddressError("the URL's host is not ASCII; write an international name in its xn-- form")
    address: Address
    if host.startswith("["):
        address = _ipv6(host[1:-1])
    elif _NAME.fullmatch(host) is None:
        raise RefusedAddressError("the URL's host is neither a name nor an address")
    elif _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        address = _ipv4(host)
    else:
        return _name(host, policy)
    check_address(address, policy)
    return _listed(str(address), policy)


def _name(host: str, policy: EgressPolicy) -> str:
    name = host.removesuffix(".")
    # Such names always mean this machine (RFC 6761, section 6.3), so there is no need to wait for the resolver.
    local = name == "localhost" or name.endswith(".localhost")
    if local and all(refusal(address, policy) for address in _LOOPBACKS):
        check_address(_LOOPBACKS[0], policy)
    _listed(name, policy)
    return host


def _listed(name: str, policy: EgressPolicy) -> str:
    if policy.allowed_hosts and name not in policy.allowed_hosts:
        parents = (f"*{name[dot:]}" for dot, character in enumerate(name) if character == ".")
        if policy.allowed_hosts.isdisjoint(parents):
            raise RefusedAddressError("the URL's host is not one of the allowed hosts")
    return name


def _ipv4(host: str) -> IPv4Address:
    # Systems read 127.1, 0177.0.0.1, 0x7f000001 and 2130706433 as addresses, each in its own way.
    try:
        return IPv4Address(host)
    except ValueError as error:
        raise RefusedAddressError("an IPv4 address has to be written as four decimal numbers") from error


def _ipv6(host: str) -> IPv6Address:
    try:
        address = IPv6Address(host)
    except ValueError as error:
        raise RefusedAddressError("the URL's host is not an IPv6 address") from error
    if address.scope_id is not None:
        raise RefusedAddressError("an address with a zone cannot be called")
    return address


def check_address(address: Address, policy: EgressPolicy) -> None:
    """Return if ``address``, which a client wrote itself, may be called.

    Raises:
        RefusedAddressError: it may not; the message names its kind.

    """
    kind = refusal(address, policy)
    if kind is not None:
        message = f"the URL leads to {kind}, which this service does not call"
        raise RefusedAddressError(message)


def refusal(address: Address, policy: EgressPolicy) -> str | None:
    """Return what kind of address it is if it may not be called, ``None`` if it may.

    An address that carries another one is judged as both: allowing NAT64 opens no private address behind it.
    """
    if not any(address in network for network in policy.allowed_networks):
        for network, kind in _REFUSED:
            if address in network:
                return kind
        if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
            return "an address outside the public IPv6 range"
    if isinstance(address, IPv6Address):
        kinds = (refusal(inner, policy) for inner in _carried(address))
        return next(filter(None, kinds), None)
    return None


def _carried(address: IPv6Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that a translator or tunnel would send packets for ``address`` to."""
    number = int(address)
    low = IPv4Address(number & 0xFFFF_FFFF)
    if any(address in network for network in _TRANSLATED):
        return [low]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    # ISATAP hides in the lower half of any prefix (RFC 5214, section 6.1).
    return [low] if number >> 32 & 0xFDFF_FFFF == 0x5EFE else []  # noqa: PLR2004  # the identifier as the RFC writes it


_GLOBAL_UNICAST = IPv6Network("2000::/3")
# IPv4-mapped, IPv4-translated and the two NAT64 prefixes (RFC 4291, 2765, 6052, 8215).
_TRANSLATED = tuple(map(IPv6Network, ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")))

# The IANA special-purpose address registries (RFC 6890) and the multicast ranges, plus what clouds added to them.
_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (IPv6Network(network) if ":" in network else IPv4Network(network), kind)
    for kind, networks in (
        ("an unspecified address", ("0.0.0.0/8", "::/128")),
        ("a loopback address", ("127.0.0.0/8", "::1/128")),
        ("a private address", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")),
        ("a link-local or metadata address", ("169.254.0.0/16", "fe80::/10", "168.63.129.16/32")),
        ("a shared carrier address", ("100.64.0.0/10",)),
        ("a protocol address", ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "5f00::/16", "100::/64")),
        (
            "a documentation address",
            ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
        ),
        ("a benchmark address", ("198.18.0.0/15",)),
        ("an anycast service address", ("192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "2620:4f:8000::/48")),
        ("a multicast address", ("224.0.0.0/4", "ff00::/8")),
        ("a reserved address", ("240.0.0.0/4",)),
        ("an IPv4 address inside an IPv6 one", ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")),
        ("a tunnel address", ("2002::/16",)),
    )
    for network in networks
)
