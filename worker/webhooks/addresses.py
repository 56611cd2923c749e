"""Where a host is: looked up once, and refused where nothing of this service may go."""

from __future__ import annotations

import ipaddress
import socket

from worker.config.callback_hosts import CallbackHosts

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedAddress(OSError):
    """The host is at an address to which nothing is sent."""


def resolve(host: str, port: int, hosts: CallbackHosts) -> list[str]:
    """Return the addresses of a host to which something may be sent.

    ``hosts``: what the operator has named. An address there, or `localhost`, is allowed whatever it is; the address of
    a name is looked at, since whoever answers for the name chooses it.

    Raises:
        OSError: it has none; ``RefusedAddress``: it has, but they are refused.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    allowed = [each for each in addresses if _is_allowed(host, port, each.partition("%")[0], hosts)]
    if not allowed:
        raise RefusedAddress("its address is one of this machine, of a link-local or of a reserved network")
    return allowed


def _is_allowed(host: str, port: int, address: str, hosts: CallbackHosts) -> bool:
    parsed = ipaddress.ip_address(address)
    local = host == "localhost" and parsed.is_loopback and hosts.name(host, port)
    return local or not is_refused(parsed) or hosts.name(address, port)


def is_refused(address: Address) -> bool:
    """Loopback, link-local (which clouds keep their metadata at), unspecified, multicast or reserved?"""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if embedded is not None:
            return is_refused(embedded)
        # NAT64: the last 32 bits are the IPv4 address.
        if address in _NAT64:
            return is_refused(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or address in _METADATA
    )


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Metadata services outside link-local networks (AWS over IPv6, Alibaba), and this host's own network.
_METADATA_NETWORKS = ("fd00:ec2::254/128", "100.100.100.200/32", "192.0.0.192/32", "0.0.0.0/8")


class _Networks:
    def __init__(self, *texts: str) -> None:
        self._networks = [ipaddress.ip_network(text) for text in texts]

    def __contains__(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)


_METADATA = _Networks(*_METADATA_NETWORKS)
