"""What flows and drivers say to each other."""

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
        wait_s: for how long the service may hold the answer back.
        limit_s: when the answer must be here, in seconds.
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
    """One answer; names of headers are in lower case, ``cookies`` are the values of Set-Cookie."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    cookies: Sequence[str] = ()

    def json(self) -> Any:
        """Return the body, read as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self.body)

    @property
    def is_problem(self) -> bool:
        """Is it a problem document, as all errors of the service are?"""
        return self.headers.get("content-type", "").startswith("application/problem+json")

    @property
    def retry_after_s(self) -> float | None:
        """When it is worth asking again; None where the answer does not say."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() else None


class ConnectionLost(Exception):
    """There is no answer.

    Attributes:
        sent: may the service have got the request?
        permanent: is it of no use to try again?
    """

    def __init__(self, detail: str, *, sent: bool, permanent: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.sent = sent
        self.permanent = permanent


class Send(NamedTuple):
    """Send a request; leads to its Response, or raises ConnectionLost."""

    request: Request


class Pause(NamedTuple):
    """Do nothing for a while."""

    seconds: float


class Emit(NamedTuple):
    """Hand a value to whoever iterates."""

    value: Any


class Open(NamedTuple):
    """Send a request whose answer's body is read bit by bit; leads to its Response without the body.

    A body of which nothing comes for ``silence_s`` seconds is lost.
    """

    request: Request
    silence_s: float


class Read(NamedTuple):
    """Read some more of that body; leads to bytes, which are empty at its end, or raises ConnectionLost."""


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
    """Tell a flow that there is no answer; return as ``advance``."""
    try:
        return flow.throw(error)
    except StopIteration as end:
        return Ended(end.value)
