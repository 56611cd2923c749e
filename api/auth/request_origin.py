"""Where a request comes from: this machine, one of our pages, or another site's page in a user's browser."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from flask import Request

from api.auth.forwarding import PEER
from worker.config.networks import Network, is_within

_FORWARDING = ("forwarded", "x-forwarded", "x-original", "x-real-ip", "x-client-ip", "true-client-ip", "cf-", "via")


def is_loopback(request: Request, *, proxies: Sequence[Network]) -> bool:
    """Does the client itself run on this machine?

    Behind a proxy on this machine all clients look local, so requests through an untrusted proxy are not local. Nor
    are requests for a host name of another site (DNS rebinding), whose pages would act in the user's name.
    """
    peer = request.environ.get(PEER)
    if not (_is_local(peer) and _is_local(request.remote_addr) and _is_local_name(request.host)):
        return False
    return is_within(peer, proxies) or not any(name.lower().startswith(_FORWARDING) for name, _ in request.headers)


def _is_local(address: str | None) -> bool:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def _is_local_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or name.endswith(".localhost") or _is_local(name)


def is_cross_site(request: Request) -> bool:
    """Did a page of another site make a browser send this? Clients that send no such headers are no browsers."""
    site = request.headers.get("Sec-Fetch-Site", "").strip().lower()
    if site not in ("", "same-origin", "none"):
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        return not site and _is_sent_from_elsewhere(request)
    if site:  # The browser sets the origin; a proxy may have changed only the scheme.
        return _host_in(origin) != request.host.lower()
    return origin.lower() != f"{request.scheme}://{request.host}".lower()


def _is_sent_from_elsewhere(request: Request) -> bool:
    """Does the Referer, which is all that old browsers send, name a page of another site?"""
    page = request.headers.get("Referer", "")
    return page != "" and _host_in(page) != request.host.lower()


def _host_in(url: str) -> str:
    """Return host and port of ``url``; empty when it is malformed."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def local_path(target: str | None) -> str:
    """Return ``target`` if it is a path on this service, otherwise ``/``: no open redirects."""
    if not target or not target.startswith("/") or target.startswith("//"):
        return "/"
    # Browsers take a backslash for a slash, and leave out tabs and ends of lines.
    is_unsafe = "\\" in target or any(not character.isprintable() for character in target)
    return "/" if is_unsafe else target
