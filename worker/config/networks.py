"""Networks of clients and proxies: whose word is taken for where a request comes from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: How many bits of an IPv6 address one site has for itself.
_SITE_BITS = 64


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks.

    Raises:
        ValueError: one is none.
    """
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def network_of(address: str | None) -> str:
    """Return the network that counts as one client: an IPv4 address, or the /64 that an IPv6 host has for itself."""
    parsed = _parse(address)
    if parsed is None:
        return "unknown"
    return str(ipaddress.ip_network(f"{parsed}/{_SITE_BITS if parsed.version == 6 else 32}", strict=False))  # noqa: PLR2004


def is_within(address: str | None, networks: Sequence[Network]) -> bool:
    """Is the address in one of the networks?"""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks if network.version == parsed.version)


def client_address(peer: str, forwarded_for: str, networks: Sequence[Network], hops: int = 0) -> str:
    """Return where a request comes from: what the nearest address that is no trusted proxy is said to be.

    Args:
        peer: the other end of the connection; what it says counts only when it is in ``networks``.
        forwarded_for: ``X-Forwarded-For``, to whose right each proxy has added where its request came from.
        networks: where trusted proxies are.
        hops: how many proxies there are at most (0: as many as the networks say).
    """
    if not is_within(peer, networks):
        return peer
    address = peer
    for hop, forwarded in enumerate(reversed([part.strip() for part in forwarded_for.split(",") if part.strip()]), 1):
        if _parse(forwarded) is None:  # No address: the proxy would not have said so.
            break
        address = forwarded
        if hop == hops or not is_within(forwarded, networks):
            break
    return address


def _parse(address: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address((address or "").split("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
