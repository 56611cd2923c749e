"""Converts httpx's errors to ConnectionLost."""

from __future__ import annotations

import socket
import ssl

import httpx

from storage_api_client.protocol.messages import ConnectionLost

_NOT_SENT = (
    httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol,
    httpx.LocalProtocolError, httpx.InvalidURL,
)  # fmt: skip
_PERMANENT = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL, ssl.SSLCertVerificationError)


def lost(error: Exception, url: str) -> ConnectionLost:
    """Return the ConnectionLost for an error of httpx."""
    causes = _causes(error)
    permanent = any(isinstance(cause, _PERMANENT) for cause in causes)
    return ConnectionLost(_sentence(causes, url), sent=not isinstance(error, _NOT_SENT), permanent=permanent)


def _causes(error: BaseException | None) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _sentence(causes: list[BaseException], url: str) -> str:
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"The certificate of {url} is not trusted ({cause.verify_message})"
        if isinstance(cause, socket.gaierror):
            return f"The name in {url} is not known ({cause.strerror})"
        if isinstance(cause, ConnectionRefusedError):
            return f"Nobody answers at {url} (connection refused)"
        if isinstance(cause, TimeoutError | httpx.TimeoutException):
            return f"{url} does not answer in time"
        if isinstance(cause, httpx.InvalidURL):
            return f"{url} is no address ({cause})"
    return f"The connection to {url} was lost ({str(causes[0]) or type(causes[0]).__name__})"
