"""The commands that flows yield to drivers, with requests and responses."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
#: A generator of commands, which returns a T.
Flow = Generator[Any, Any, T]


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        path: below the service's address, quoted; or a whole URL, for an identity provider.
        body: sent as JSON.
        form: sent as a form, in the place of ``body``.
        limit_s: the time limit for the response (seconds).
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    form: Mapping[str, str] | None = None
    limit_s: float = 30.0


@dataclass(frozen=True)
class Response:
    """One response; names of headers are in lower case, ``cookies`` are the values of Set-Cookie."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    cookies: Sequence[str] = ()

    def json(self) -> Any:
        """Return the body, parsed as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self.body)

    @property
    def is_problem(self) -> bool:
        """Is it a problem document, as all errors of the service are?"""
        return self.headers.get("content-type", "").startswith("application/problem+json")

    @property
    def retry_after_s(self) -> float | None:
        """The value of Retry-After (seconds); None if there is none."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() else None


class ConnectionLost(Exception):
    """The connection failed; there is no response.

    Attributes:
        sent: may the service have received the request?
        permanent: would a retry fail the same way?
    """

    def __init__(self, detail: str, *, sent: bool, permanent: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.sent = sent
        self.permanent = permanent


class Send(NamedTuple):
    """Send a request; its result is the Response, or ConnectionLost is raised."""

    request: Request


class Pause(NamedTuple):
    """Sleep."""

    seconds: float


class Emit(NamedTuple):
    """Yield a value to the caller that iterates."""

    value: Any


class OpenStream(NamedTuple):
    """Send a request whose response is streamed; its result is the Response without the body.

    The connection counts as lost when no data arrive for ``silence_s`` seconds.
    """

    request: Request
    silence_s: float


class ReadChunk(NamedTuple):
    """Read the next chunk of the stream; its result is bytes (empty at the end), or ConnectionLost is raised."""


def send(request: Request) -> Flow[Response]:
    """Send a request once."""
    response: Response = yield Send(request)
    return response


class Ended(NamedTuple):
    """A flow has returned."""

    value: Any


def advance(flow: Flow[Any], reply: Any = None) -> Any:
    """Return a flow's next command, or Ended; a flow that begins is sent None."""
    try:
        return flow.send(reply)
    except StopIteration as end:
        return Ended(end.value)


def fail(flow: Flow[Any], error: ConnectionLost) -> Any:
    """Raise ``error`` inside a flow; return as ``advance``."""
    try:
        return flow.throw(error)
    except StopIteration as end:
        return Ended(end.value)
