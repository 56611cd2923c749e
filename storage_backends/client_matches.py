"""The canonical form of hosts and NFS client matches: equal meanings have equal texts.

Host names are compared without regard to case (RFC 4343). IPv6 addresses are written as in RFC 5952; an IPv4-mapped
one is the IPv4 address; an address with its full prefix length is the address; a network has no host bits, and a
netmask is its prefix length. Netgroups keep their case. Other texts are only converted to lower case.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: The bits before the IPv4 address in an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
_MAPPED_BITS = 96
_CACHED_MATCHES = 4096


@lru_cache(maxsize=_CACHED_MATCHES)
def parse_network(text: str) -> Network | None:
    """Return the network of an address, ``address/length`` or ``address/netmask``; an address is a network of one.

    None for any other text, also for an address with a scope and for a host mask (``10.0.0.0/0.0.0.255``).
    """
    if "%" in text:
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    _, _, mask = text.partition("/")
    if "." in mask and mask != str(network.netmask):
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def canonical_host(host: str) -> str:
    """Return a host name in lower case, or an address in its shortest form."""
    return host if host.startswith("@") else _canonical(host)


def canonical_match(match: str) -> str:
    """Return an NFS client match in canonical form; two matches mean the same if, and only if, these are equal."""
    return match if match.startswith("@") else _canonical(match)


def canonical_matches(matches: Iterable[str]) -> list[str]:
    """Return client matches in canonical form, each once, in their order."""
    return list(dict.fromkeys(canonical_match(match) for match in matches))


def canonical_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return an operation's arguments with ``host``, ``rule`` and ``rules`` in canonical form."""
    changed = dict(arguments)
    if "host" in changed:
        changed["host"] = canonical_host(changed["host"])
    if "rule" in changed:
        changed["rule"] = canonical_match(changed["rule"])
    if "rules" in changed:
        changed["rules"] = canonical_matches(changed["rules"])
    return changed


def covers(wide: str, narrow: str) -> bool:
    """Does ``wide`` certainly include every client of ``narrow``? Both are in canonical form.

    Names are not resolved: for netgroups, or a host name and an address, the answer is False. A network of all
    addresses of IPv4 covers every host name, since such a host has an address.
    """
    if wide == narrow or (wide in {"0.0.0.0/0", "::/0"} and parse_network(narrow) is None):
        return True
    outer, inner = parse_network(wide), parse_network(narrow)
    if isinstance(outer, ipaddress.IPv4Network) and isinstance(inner, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(outer, ipaddress.IPv6Network) and isinstance(inner, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    domain = wide.removeprefix("*")
    return inner is None and domain.startswith(".") and not narrow.startswith("@") and narrow.endswith(domain)


def _canonical(text: str) -> str:
    network = parse_network(text)
    if network is None:
        return text.lower()
    is_address = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if is_address else str(network)
