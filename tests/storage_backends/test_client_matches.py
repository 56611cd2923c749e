"""Hosts and client matches in canonical form."""

from __future__ import annotations

import pytest

from storage_backends.client_matches import canonical_arguments, canonical_host, canonical_match, covers


@pytest.mark.parametrize(
    ("match", "canonical"),
    [
        ("10.1.2.3/255.255.0.0", "10.1.0.0/16"),
        ("10.0.0.0/0.0.0.255", "10.0.0.0/0.0.0.255"),  # A host mask: not what a filer takes it for.
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("@Admins", "@Admins"),
        ("*.Example.org", "*.example.org"),
        # Digits of another script are no address.
        ("١٠.0.0.0/8", "١٠.0.0.0/8"),
        ("10.1.0.0/８", "10.1.0.0/８"),
    ],
)
def test_equal_meanings_have_equal_texts(match: str, canonical: str) -> None:
    assert canonical_match(match) == canonical


def test_a_netgroup_is_no_host_name() -> None:
    assert (canonical_host("@Admins"), canonical_host("DB01.Example.org")) == ("@Admins", "db01.example.org")
    arguments = {"host": "H", "rule": "R", "rules": ["A", "a"], "volume": "V"}
    assert canonical_arguments(arguments) == {"host": "h", "rule": "r", "rules": ["a"], "volume": "V"}
    assert arguments["host"] == "H"


@pytest.mark.parametrize(
    ("wide", "narrow", "is_covered"),
    [
        ("10.0.0.0/8", "10.0.0.0/8", True),
        ("10.0.0.0/8", "10.1.0.0/16", True),
        ("10.1.0.0/16", "10.0.0.0/8", False),
        ("0.0.0.0/0", "h", True),
        ("::/0", "h", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        (".example.org", "h.example.org", True),
        ("*.example.org", "h.example.org", True),
        (".example.org", "example.org", False),
        (".example.org", "@h.example.org", False),
        ("h", "other", False),
        ("@admins", "h", False),
        (".0.1", "10.0.0.1", False),
        ("2001:db8::/32", "2001:db8::1", True),
    ],
)
def test_included_networks_and_hosts(wide: str, narrow: str, is_covered: bool) -> None:
    assert covers(wide, narrow) is is_covered
