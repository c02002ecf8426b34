"""Whose request it is, past proxies that are trusted to say so."""

import ipaddress

import pytest

from services.api.access.addresses import ClientAddresses, anonymous_id

TRUSTED = ClientAddresses(
    [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8:1::/48")]
)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", [], "198.51.100.1"),
        ("198.51.100.1", ["203.0.113.9"], "198.51.100.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4", "203.0.113.9", "10.9.9.9"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::5]:4711"], "2001:db8::5"),
        ("10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("2001:db8:1::7", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        (None, ["203.0.113.9"], "unknown"),
        ("/tmp/socket", ["203.0.113.9"], "unknown"),  # noqa: S108 - an address of no network
    ],
)
def test_the_last_address_that_no_trusted_proxy_has_is_the_clients(
    peer: str | None, forwarded: list[str], client: str
) -> None:
    assert TRUSTED.of(peer, [value.encode() for value in forwarded]) == client


def test_who_has_a_whole_network_of_ipv6_is_one_caller() -> None:
    first, second = anonymous_id("2001:db8:0:1::1"), anonymous_id("2001:db8:0:1:ffff::2")
    assert first == second
    assert first != anonymous_id("2001:db8:0:2::1")
    assert anonymous_id("192.0.2.1") != anonymous_id("192.0.2.2")
    assert anonymous_id("192.0.2.1").startswith("anon-")
