"""Which URLs and addresses may be called."""

from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_queue.domain.callbacks.addresses import Destination, EgressPolicy, check_address, check_url, refusal
from mcp_queue.domain.errors import RefusedAddressError
from tests.support.http.addresses import AS_WRITTEN

DEFAULT = EgressPolicy()
LOOPBACK = EgressPolicy(allowed_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")))


@pytest.mark.parametrize(("url", "reason"), AS_WRITTEN.items())
def test_a_url_that_breaks_a_rule_as_written_is_refused_with_its_reason(url: str, reason: str) -> None:
    """The reason is what the client reads in its 422."""
    with pytest.raises(RefusedAddressError, match=reason):
        check_url(url, DEFAULT)


CALLABLE = {
    "http://example.com": Destination("http", "example.com", 80),
    "https://example.com/hook?a=b#c": Destination("https", "example.com", 443),
    "HTTPS://EXAMPLE.com:8443/": Destination("https", "example.com", 8443),
    "http://example.com.:8080/": Destination("http", "example.com.", 8080),
    "http://example.com:/": Destination("http", "example.com", 80),
    "http://a_b.example/": Destination("http", "a_b.example", 80),
    "http://xn--bcher-kva.example/": Destination("http", "xn--bcher-kva.example", 80),
    "http://1password.example/": Destination("http", "1password.example", 80),
    "http://8.8.8.8/": Destination("http", "8.8.8.8", 80),
    "http://100.63.255.255/": Destination("http", "100.63.255.255", 80),
    "http://172.32.0.1/": Destination("http", "172.32.0.1", 80),
    "https://[2606:4700:0:0::1111]:444/": Destination("https", "2606:4700::1111", 444),
    "http://example.com/bücher?@=:": Destination("http", "example.com", 80),
    "http://nothing-resolves-here/": Destination("http", "nothing-resolves-here", 80),
}


@pytest.mark.parametrize(("url", "expected"), CALLABLE.items())
def test_a_callable_url_leads_to_one_destination(url: str, expected: Destination) -> None:
    """Spellings of one destination are one destination."""
    assert expected == check_url(url, DEFAULT)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/", "http://[::1]/", "http://localhost/", "http://127.8.9.1/"])
def test_an_allowed_network_may_be_called_by_address_and_as_localhost(url: str) -> None:
    """Trying it out on one machine needs nothing but loopback."""
    check_url(url, LOOPBACK)


@pytest.mark.parametrize("url", ["http://2130706433/", "http://[::ffff:127.0.0.1]/", "http://10.0.0.1/"])
def test_an_allowed_network_allows_no_trick_and_no_other_network(url: str) -> None:
    """What is allowed is the network, not each way to write it."""
    with pytest.raises(RefusedAddressError):
        check_url(url, LOOPBACK)


def test_localhost_may_be_called_where_only_one_kind_of_loopback_is_allowed() -> None:
    """Which of the two it resolves to is seen only then."""
    policy = EgressPolicy(allowed_networks=(ip_network("127.0.0.1/32"),))

    assert Destination("http", "localhost", 80) == check_url("http://localhost", policy)


def test_allowed_ports_narrow_what_may_be_called() -> None:
    """The default port of the scheme counts like a written one."""
    policy = EgressPolicy(allowed_ports=frozenset({443}))

    check_url("https://example.com/", policy)
    with pytest.raises(RefusedAddressError, match="port 80 is not one of the allowed ports"):
        check_url("http://example.com/", policy)


@pytest.mark.parametrize("host", ["example.com", "EXAMPLE.com.", "a.hooks.example", "a.b.hooks.example", "8.8.8.8"])
def test_a_listed_host_may_be_called(host: str) -> None:
    """A trailing dot or capitals make no other name."""
    policy = EgressPolicy(allowed_hosts=frozenset({"example.com", "*.hooks.example", "8.8.8.8"}))

    check_url(f"http://{host}/", policy)


@pytest.mark.parametrize("host", ["a.example.com", "hooks.example", "ahooks.example", "example.com.test", "8.8.4.4"])
def test_a_host_that_is_not_listed_is_refused(host: str) -> None:
    """A list entry covers neither its neighbours nor, with a star, itself."""
    policy = EgressPolicy(allowed_hosts=frozenset({"example.com", "*.hooks.example", "8.8.8.8"}))

    with pytest.raises(RefusedAddressError, match="not one of the allowed hosts"):
        check_url(f"http://{host}/", policy)


def test_a_listed_host_needs_an_allowed_address_all_the_same() -> None:
    """The list narrows; it opens nothing."""
    with pytest.raises(RefusedAddressError, match="loopback"):
        check_url("http://127.0.0.1/", EgressPolicy(allowed_hosts=frozenset({"127.0.0.1"})))


def test_plain_http_is_refused_where_https_is_required() -> None:
    """Only where the operator asked for it."""
    policy = EgressPolicy(require_https=True)

    check_url("https://example.com/", policy)
    with pytest.raises(RefusedAddressError, match="not https"):
        check_url("http://example.com/", policy)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("64:ff9b::8.8.8.8", None),
        ("64:ff9b::10.0.0.1", "a private address"),
        ("64:ff9b:1::127.0.0.1", "an IPv4 address inside an IPv6 one"),
        ("2002:a00:1::", "a private address"),
        ("2002:808:808::", None),
        ("2001:0:a00:1::", "a private address"),
        ("2001:0:808:808:0:0:f5ff:fffe", "a private address"),
        ("2001:0:808:808:0:0:f7f7:f7f7", None),
    ],
)
def test_allowing_a_translator_or_tunnel_opens_no_private_address_behind_it(address: str, expected: str | None) -> None:
    """Networks with IPv6 alone reach public IPv4 through NAT64, and must reach nothing else through it."""
    tunnels = ("64:ff9b::/96", "2002::/16", "2001::/32")
    policy = EgressPolicy(allowed_networks=tuple(map(ip_network, tunnels)))

    assert expected == refusal(ip_address(address), policy)


@given(st.ip_addresses())
def test_no_address_is_taken_that_the_standard_library_calls_private(address: object) -> None:
    """The ranges of the standard library are a second opinion on ours."""
    ip = ip_address(str(address))

    if ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        with pytest.raises(RefusedAddressError):
            check_address(ip, DEFAULT)


@given(st.text(max_size=40), st.sampled_from(["", "http://", "https://", "http://127.0.0.1", "http://[::1"]))
def test_any_text_is_either_refused_or_has_a_destination(text: str, start: str) -> None:
    """Nothing a client can write ends in another error."""
    with suppress(RefusedAddressError):
        assert check_url(start + text, DEFAULT).host.isascii()
