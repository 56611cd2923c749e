"""Networks of clients and trusted proxies, and the address of a request's client."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: Prefix length of the IPv6 network that counts as one client.
_SITE_BITS = 64
#: How many addresses and their networks are remembered: parsing one takes as long as writing a line of log.
_REMEMBERED = 4096
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]+|\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?")


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks.

    Raises:
        ValueError: one is none.
    """
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


@lru_cache(maxsize=_REMEMBERED)
def network_of(address: str | None) -> str:
    """Return the network that counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    parsed = _parse(address)
    if parsed is None:
        return "unknown"
    return str(ipaddress.ip_network(f"{parsed}/{_SITE_BITS if parsed.version == 6 else 32}", strict=False))  # noqa: PLR2004


def is_within(address: str | None, networks: Sequence[Network]) -> bool:
    """Is the address in one of the networks?"""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks if network.version == parsed.version)


def client_address(peer: str, forwarded_for: str, networks: Sequence[Network], hops: int = 0) -> str:
    """Return the client's address: the last one in ``forwarded_for`` and ``peer`` that is not a trusted proxy.

    Args:
        peer: the address of the connection's other end; ``forwarded_for`` counts only when it is in ``networks``.
        forwarded_for: ``X-Forwarded-For``, to which each proxy has appended the address of its peer.
        networks: the networks of trusted proxies.
        hops: how many proxies there are at most (0: no limit).
    """
    if not is_within(peer, networks):
        return peer
    address = peer
    chain = [_without_port(part.strip()) for part in forwarded_for.split(",") if part.strip()]
    for hop, forwarded in enumerate(reversed(chain), 1):
        if _parse(forwarded) is None:  # Not an address, so no proxy has written it.
            break
        address = forwarded
        if hop == hops or not is_within(forwarded, networks):
            break
    return address


def _without_port(forwarded: str) -> str:
    """Return the address: some proxies write the client's port behind it, and then IPv6 in brackets."""
    match = _WITH_PORT.fullmatch(forwarded)
    return match[1] or match[2] if match else forwarded


def _parse(address: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
