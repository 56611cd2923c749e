"""Which hosts callbacks may be sent to: the entries of ``SAPI_CALLBACK_HOSTS``, and what an entry allows."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit

from storage_backends.client_matches import canonical_host

_PORTS = {"https": 443, "http": 80}
_LONGEST_URL = 2000
#: A name, or an address; wildcards and networks are none.
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")


@dataclass(frozen=True, slots=True)
class CallbackHost:
    """One entry: a host, with an optional port and an optional scheme ``http``."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an entry.

        Raises:
            ValueError: it is none.
        """
        scheme, _, rest = text.strip().rpartition("://")
        try:
            parts = urlsplit(f"//{rest}")
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise _bad_entry(text) from None
        is_host = bool(_HOST.fullmatch(host)) and parts.netloc == rest and parts.username is None
        if scheme not in ("", "https", "http") or not is_host or port == 0:
            raise _bad_entry(text)
        return cls(scheme, canonical_host(host), port)

    def allows(self, scheme: str, host: str, port: int) -> bool:
        """May a callback be sent there?"""
        if host != self.host or self.port not in (None, port):
            return False
        return scheme == "https" or self.scheme == "http" or is_loopback(host)


def _bad_entry(text: str) -> ValueError:
    forms = "neither host nor host:port nor http://host:port (IPv6 in brackets)"
    return ValueError(f"{text!r} is {forms}")


class CallbackHosts:
    """All entries."""

    def __init__(self, entries: str) -> None:
        """``entries``: separated by commas. Raises ValueError for one that is none."""
        self._hosts = [CallbackHost.parse(entry) for entry in entries.split(",") if entry.strip()]

    def __bool__(self) -> bool:
        return bool(self._hosts)

    def allow(self, url: str) -> bool:
        """May a callback be sent to this URL?"""
        try:
            scheme, host, port = target_of(url)
        except ValueError:
            return False
        return any(entry.allows(scheme, host, port) for entry in self._hosts)

    def name(self, host: str, port: int) -> bool:
        """Does an entry name this host? Then also addresses that are refused otherwise are allowed."""
        return any(entry.host == host and entry.port in (None, port) for entry in self._hosts)


def target_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL; the host in canonical form.

    Raises:
        ValueError: it is none to which anything can be sent.
    """
    parts: SplitResult = urlsplit(url)
    printable = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if not printable or len(url) > _LONGEST_URL or parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("it must be an https:// URL")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("it must have neither user nor fragment")
    return parts.scheme, canonical_host(parts.hostname), parts.port or _PORTS[parts.scheme]


def is_loopback(host: str) -> bool:
    """Is this name or address this machine itself?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
