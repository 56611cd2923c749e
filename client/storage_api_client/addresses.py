"""Addresses: of the service, and of what it links to."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def checked_url(url: str) -> str:
    """Return a service's address without a slash at its end.

    Raises:
        ValueError: it is no http or https address.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{url!r} is no address of a service: write it like https://storage.example.org")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Does an address lead to this machine?"""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def origin(url: str) -> str:
    """Return an address without its path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def resolve(url: str, path: str) -> str:
    """Return where a request goes: a path below the service's address, or a whole URL as it is.

    The service may be mounted below a path, and name it in its links.
    """
    if not path.startswith("/"):
        return path
    prefix = urlsplit(url).path
    return f"{origin(url)}{path}" if prefix and path.startswith(f"{prefix}/") else f"{url}{path}"
