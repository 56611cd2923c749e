"""Resolves a host once, and refuses addresses to which nothing may be sent."""

from __future__ import annotations

import ipaddress
import socket

from worker.config.callback_hosts import CallbackHosts

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedAddress(OSError):
    """The host has only addresses to which nothing is sent."""


def resolve(host: str, port: int, hosts: CallbackHosts) -> list[str]:
    """Return the addresses of a host to which something may be sent.

    ``hosts``: the operator's list. Addresses in it, and `localhost`, are always allowed; the addresses of
    a name are checked, since the owner of the name chooses them.

    Raises:
        OSError: it has no address. RefusedAddress: all of its addresses are refused.
    """
    records = socket.getaddrinfo(host, port)
    # Each comes once for each kind of socket.
    addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in records))
    allowed = [address for address in addresses if _is_allowed(host, port, address.partition("%")[0], hosts)]
    if not allowed:
        raise RefusedAddress("its address is one of this machine, of a link-local or of a reserved network")
    return allowed


def _is_allowed(host: str, port: int, address: str, hosts: CallbackHosts) -> bool:
    parsed = ipaddress.ip_address(address)
    local = host == "localhost" and parsed.is_loopback and hosts.name(host, port)
    return local or not is_refused(parsed) or hosts.name(address, port)


def is_refused(address: Address) -> bool:
    """Is it this machine, link-local (where clouds keep their metadata), unspecified, multicast or reserved?"""
    embedded = _embedded(address)
    if embedded is not None:
        return is_refused(embedded)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or any(address in network for network in _REFUSED if address.version == network.version)
        or _is_own(address)
    )


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this IPv6 address would be sent to in the end, if there is one."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _is_own(address: Address) -> bool:
    """Does one of this machine's interfaces have it? Then it is also where packets to it would come from."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Connecting a UDP socket sends nothing.
            probe.connect((str(address), 9))
            return str(probe.getsockname()[0]) == str(address)
    except OSError:
        return False


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Metadata services outside link-local networks (AWS, Google Cloud and Oracle over IPv6, Alibaba, Oracle, Azure's
#: wire server), and this host's own network.
_REFUSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("fd00:ec2::/32", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128"),
        *("100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", "0.0.0.0/8"),
    )
)
