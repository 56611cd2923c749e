"""What came back from the filer: its answer, read whole; or how the exchange failed, and whether anything had left."""

from __future__ import annotations

import gc
import http.client
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
#: Makes of an answer's body what is wanted of it, while nothing else has seen it.
Shape = Callable[[Json], Json]

#: What the libraries raise when an exchange fails.
TROUBLE = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
#: How many wrapped errors are looked through for the cause.
_DEEPEST = 20


class NotSent(Exception):
    """The filer was not reached: no byte of the request left."""


class NoAnswer(Exception):
    """The request left, and no whole answer came."""

    def __init__(self, reason: str, *, timed_out: bool = False, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed_out = timed_out
        #: The HTTP status, where at least that came.
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the filer."""

    status: int
    body: Json = field(default_factory=dict)
    #: How long the filer asks to be left alone, in seconds; None: it does not say.
    retry_after_s: float | None = None

    @property
    def error(self) -> tuple[int | None, str]:
        """ONTAP's error code and message; (None, "") where the body holds none."""
        found = self.body.get("error")
        if not isinstance(found, dict):
            return None, ""
        code = str(found.get("code", ""))
        return int(code) if code.lstrip("-").isdigit() else None, str(found.get("message", ""))


def refuses(status: int) -> bool:
    """Does the HTTP status alone say that nothing was done?"""
    if status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.SERVICE_UNAVAILABLE}:
        return status == HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR


def read(response: requests.Response, *, is_question: bool, shape: Shape | None = None) -> Answer:
    """The answer, once all of it is here.

    Raises:
        NoAnswer: it is broken. A question is never answered by nothing at all: an empty listing has a body, too.
    """
    status, content = response.status_code, response.content
    is_good = status < requests.codes.multiple_choices
    with _no_collection():
        body = _parsed(content, may_be_empty=not (is_question and is_good))
        if body is None and is_good:
            raise NoAnswer("the answer broke off", status=status)
        if body is not None and is_good and shape is not None:
            body = shape(body)
    pause = response.headers.get("Retry-After", "")
    return Answer(status, body or {}, float(pause) if pause.isdigit() else None)


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
    """Look for no cyclic garbage: a page of records is all new objects and no garbage, and is gone in a moment.

    Without this a listing spends most of its time on walking through its own records.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def trouble_of(trouble: BaseException, status: int | None) -> NotSent | NoAnswer:
    """What happened, in words that name no host: the libraries' own messages do."""
    timed_out = _caused_by(trouble, (requests.Timeout, TimeoutError, urllib3.exceptions.TimeoutError))
    if not CALL.sent:
        if timed_out:
            return NotSent("it does not take connections in time")
        if _caused_by(trouble, (requests.exceptions.SSLError, urllib3.exceptions.SSLError)):
            return NotSent("its certificate or encryption is not accepted")
        if _caused_by(trouble, (urllib3.exceptions.NameResolutionError,)):
            return NotSent("its name is not known")
        return NotSent("it does not take connections")
    if timed_out:
        return NoAnswer("the time was over", timed_out=True, status=status)
    return NoAnswer("the connection broke", status=status)


def _caused_by(trouble: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Is it one of ``kinds``, or does it wrap one, as ``requests`` wraps ``urllib3``?"""
    seen: list[object] = [trouble]
    for found in seen:
        if isinstance(found, kinds):
            return True
        if isinstance(found, BaseException) and len(seen) < _DEEPEST:
            seen += [*found.args, found.__cause__, getattr(found, "reason", None)]
    return False
