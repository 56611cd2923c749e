"""Responses of the filer, read completely; or how the request failed, and whether any of it was sent."""

from __future__ import annotations

import errno
import gc
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
import requests
import urllib3

from storage_backends.netapp.ontap.transport import CALL

Json = dict[str, Any]
#: Converts the body of a response.
Transform = Callable[[Json], Json]

#: Exceptions of the libraries when a request fails.
TRANSPORT_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
#: How many wrapped errors are searched for the cause.
_DEEPEST = 20
#: Longer numbers are not codes of a filer.
_MAX_DIGITS = 18


class NotSent(Exception):
    """The filer was not reached: no byte of the request was sent."""


class ResponseLost(Exception):
    """The request was sent, but no complete response came."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class OntapError:
    """ONTAP's own error: its code if that is a number, its message, and the field that it is about."""

    code: int | None
    message: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response of the filer."""

    status: int
    body: Json = field(default_factory=dict)
    #: Retry-After (seconds); None without one.
    retry_after_s: float | None = None

    @property
    def error(self) -> OntapError | None:
        """ONTAP's own error; None if the body has none, also because it is not from ONTAP."""
        error = self.body.get("error")
        if not isinstance(error, dict):
            return None
        code = str(error.get("code", ""))
        is_number = code.isascii() and code.isdigit() and len(code) <= _MAX_DIGITS
        number = int(code) if is_number else None
        return OntapError(number, str(error.get("message") or ""), str(error.get("target") or ""))

    @property
    def is_redirect(self) -> bool:
        """Does it lead elsewhere, as a proxy does? A filer does not."""
        return HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST

    @property
    def is_refusal(self) -> bool:
        """Does it prove that nothing was done, whatever the error's code?"""
        if self.status in _REFUSING_ALONE:
            return True
        is_client_error = HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        # The response may be a proxy's: only the filer knows what it did.
        return is_client_error and self.status != HTTPStatus.REQUEST_TIMEOUT and self.error is not None


#: Sent before a request is executed, by the filer or a proxy.
_REFUSING_ALONE = frozenset({401, 403, 413, 414, 429, 431, 503})


def read(response: requests.Response, *, is_question: bool, transform: Transform | None = None) -> Answer:
    """Read the complete response.

    Raises:
        ResponseLost: it is incomplete or malformed. Responses to reads are never empty: an empty listing has a body.
    """
    status, content = response.status_code, response.content
    is_good = status < requests.codes.multiple_choices
    with _no_collection():
        body = _parsed(content, may_be_empty=not (is_question and is_good))
        if body is None and is_good:
            raise ResponseLost("the answer broke off")
        if body is not None and is_good and transform is not None:
            body = transform(body)
    pause = response.headers.get("Retry-After", "")
    is_number = pause.isascii() and pause.isdigit() and len(pause) <= _MAX_DIGITS
    return Answer(status, body or {}, float(pause) if is_number else None)


def _parsed(content: bytes, *, may_be_empty: bool) -> Json | None:
    if may_be_empty and not content.strip():
        return {}
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disable the garbage collection of cycles inside the block: a page of records has many objects, but no cycles.

    Otherwise a listing spends most of its time in the garbage collector.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def transport_failure(failure: BaseException) -> NotSent | ResponseLost:
    """Return the exception for a failed request, without host names, which the libraries' messages contain."""
    causes = _causes(failure)
    timed_out = any(isinstance(cause, _TIMEOUTS) and not isinstance(cause, _NOT_CONNECTED) for cause in causes)
    if CALL.sent:
        reason = "the time was over" if timed_out else "the connection broke"
        return ResponseLost(reason, timed_out=timed_out)
    for cause in causes:
        if reason := _own_trouble(cause) or _certificate_trouble(cause):
            return NotSent(reason)
    for kind, reason in _REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return NotSent(reason)
    if any(isinstance(cause, OSError) and cause.errno in _UNREACHABLE for cause in causes):
        return NotSent("there is no network route to it")
    return NotSent("it does not take connections in time" if timed_out else "it does not take connections")


def _own_trouble(cause: BaseException) -> str:
    """Return what is wrong on this side, so that no connection was tried; empty for other errors."""
    if isinstance(cause, OSError) and cause.errno in _NONE_LEFT:
        return "this worker can open no more connections"
    # `requests` raises a plain one for a path that is not there.
    is_path = type(cause) is OSError and cause.errno is None
    is_empty = isinstance(cause, ssl.SSLError) and cause.reason == "NO_CERTIFICATE_OR_CRL_FOUND"
    return "the file that `verify` names has no certificates that can be read" if is_path or is_empty else ""


def _certificate_trouble(cause: BaseException) -> str:
    is_refused = isinstance(cause, ssl.SSLCertVerificationError)
    return _CERTIFICATES.get(getattr(cause, "verify_code", 0), "") if is_refused else ""


#: Some of urllib3's classes inherit from each other: a refused connection is a time-out there.
_NOT_CONNECTED = (urllib3.exceptions.NewConnectionError,)
_TIMEOUTS = (requests.Timeout, TimeoutError, urllib3.exceptions.TimeoutError)
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})
#: There are no more files, ports or buffers for connections on this host.
_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
#: OpenSSL's codes of what is wrong with a certificate; any other: its authority is not trusted.
_CERTIFICATES = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    62: "its certificate is for another host name",
    64: "its certificate is for another address",
}
_NO_HOST = "what `hostname` says is no name or address of a host"
#: Reasons why there was no connection, the most specific first.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (requests.exceptions.InvalidURL, _NO_HOST),
    (requests.exceptions.InvalidSchema, _NO_HOST),
    (urllib3.exceptions.LocationValueError, _NO_HOST),
    (socket.gaierror, "its host name cannot be resolved"),
    (urllib3.exceptions.NameResolutionError, "its host name cannot be resolved"),
    (ssl.SSLCertVerificationError, "its certificate is not trusted"),
    (ssl.SSLError, "no encrypted connection can be agreed on"),
    (ConnectionRefusedError, "its host refuses connections to that port"),
    (ConnectionResetError, "its host cuts new connections"),
    (TimeoutError, "it does not take connections in time"),
    (requests.exceptions.SSLError, "no encrypted connection can be agreed on"),
)


def _causes(failure: BaseException) -> list[BaseException]:
    """Return the failure and the errors that it wraps: ``requests`` wraps ``urllib3``, that the system's error."""
    causes: list[BaseException] = [failure]
    for error in causes:
        if len(causes) < _DEEPEST:
            wrapped = (*error.args, error.__cause__, error.__context__, getattr(error, "reason", None))
            causes += [cause for cause in wrapped if isinstance(cause, BaseException) and cause not in causes]
    return causes
