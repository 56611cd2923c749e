"""WSGI middleware: takes the client's address and the public URL from trusted proxies, and from no others.

With `SAPI_PUBLIC_URL`, scheme, host and path prefix are taken from that; links, redirects and pages in
responses get the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from api.http.host_header import keep_sent_host
from worker.config.networks import Network, client_address, is_within

Environ = dict[str, Any]

#: The address of the connection's peer, for checks that must not rely on proxies.
PEER = "sapi.peer"
_LINKS = frozenset({"location", "operation-location", "link"})
_PATH_IN_LINK = re.compile(r"(^|<)(/[^>]*)")
_PATH_IN_PAGE = re.compile(rb"""(\b(?:href|src|action|data-url|content)=["'])(/(?!/))""")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}\Z")


class ForwardingMiddleware:
    """The middleware."""

    def __init__(
        self, application: Callable[..., Iterable[bytes]], *, networks: Sequence[Network], hops: int, public_url: str
    ) -> None:
        """Wrap ``application``.

        Args:
            application: what is called.
            networks: where proxies are whose X-Forwarded-* are believed.
            hops: how many proxies there are at most (0: no limit).
            public_url: the service's URL for clients (empty: taken from the request).
        """
        self._application = application
        self._networks = networks
        self._hops = hops
        self._public: SplitResult | None = urlsplit(public_url) if public_url else None

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        peer = environ[PEER] = environ.get("REMOTE_ADDR") or ""
        keep_sent_host(environ)
        if is_within(peer, self._networks):
            forwarded_for = environ.get("HTTP_X_FORWARDED_FOR", "")
            environ["REMOTE_ADDR"] = client_address(peer, forwarded_for, self._networks, self._hops)
            _apply_forwarded_headers(environ)
        if self._public is not None:
            environ["wsgi.url_scheme"] = self._public.scheme
            environ["HTTP_HOST"] = self._public.netloc
            _mount(environ, self._public.path.rstrip("/"))
        prefix = environ.get("SCRIPT_NAME", "")
        if not prefix:
            return self._application(environ, start_response)
        return _prefixed(self._application, environ, start_response, prefix)


def _apply_forwarded_headers(environ: Environ) -> None:
    """Use the nearest proxy's X-Forwarded-Proto, -Host and -Prefix."""
    scheme = _last(environ, "HTTP_X_FORWARDED_PROTO")
    if scheme in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme
    host = _last(environ, "HTTP_X_FORWARDED_HOST")
    if _HOST.match(host):
        environ["HTTP_HOST"] = host
    prefix = _last(environ, "HTTP_X_FORWARDED_PREFIX").rstrip("/")
    if prefix.startswith("/") and not prefix.startswith("//") and re.fullmatch(r"[A-Za-z0-9._~/-]{1,200}", prefix):
        _mount(environ, prefix)


def _last(environ: Environ, name: str) -> str:
    return str(environ.get(name, "")).rpartition(",")[2].strip()


def _mount(environ: Environ, prefix: str) -> None:
    """Mount the application below a prefix, whether the proxy strips it from the path or not."""
    environ["SCRIPT_NAME"] = prefix
    path = environ.get("PATH_INFO", "")
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        environ["PATH_INFO"] = path.removeprefix(prefix) or "/"
        for name in ("RAW_URI", "REQUEST_URI"):
            if str(environ.get(name, "")).startswith(prefix):
                environ[name] = environ[name].removeprefix(prefix) or "/"


def _prefixed(
    application: Callable[..., Iterable[bytes]], environ: Environ, start_response: Callable[..., Any], prefix: str
) -> Iterable[bytes]:
    is_page = False

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        nonlocal is_page
        is_page = any(name.lower() == "content-type" and value.startswith("text/html") for name, value in headers)
        prefixed_headers = [
            (name, _PATH_IN_LINK.sub(lambda match: match[1] + _below(prefix, match[2]), value))
            if name.lower() in _LINKS
            else (name, value)
            for name, value in headers
            # The prefix changes the length.
            if not (is_page and name.lower() == "content-length")
        ]
        return start_response(status, prefixed_headers, *more)

    chunks = application(environ, start)
    if not is_page:
        return chunks
    try:
        body = b"".join(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    return [_PATH_IN_PAGE.sub(rb"\1" + prefix.encode() + rb"\2", body)]


def _below(prefix: str, path: str) -> str:
    """Add the prefix to a path that does not have it."""
    is_there = path == prefix or path.startswith((f"{prefix}/", f"{prefix}?"))
    return path if is_there or path.startswith("//") else prefix + path
