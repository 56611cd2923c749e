"""Sends one request, with retries until there is a final response or the time limit is reached."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from storage_api_client.errors import OutcomeUnknown, Unavailable, error_of
from storage_api_client.models import Problem
from storage_api_client.protocol.deadlines import Deadline, backoff_s
from storage_api_client.protocol.messages import ConnectionLost, Flow, Pause, Request, Response, send

_OK = range(200, 300)
_NOT_MODIFIED = 304
_ERRORS = 400
_UNAUTHORISED = 401
_FORBIDDEN = 403
_MISTAKE = 500
_GATEWAY = (502, 503, 504)
_UNAVAILABLE = 503
_LATER = (429, _UNAVAILABLE)
_NOT_CACHED = 504
#: Beyond the time for which the service may hold an answer back, in seconds.
_GRACE_S = 15.0


class Credentials(Protocol):
    """Authentication of requests; both methods are flows, because a token may have to be fetched."""

    def headers(self) -> Flow[Mapping[str, str]]:
        """Return the headers that authenticate a request."""
        ...

    def renew(self) -> Flow[bool]:
        """Renew the credentials after a 401; False when that is not possible."""
        ...


class Anonymous:
    """No credentials."""

    def headers(self) -> Flow[Mapping[str, str]]:
        """Return no headers."""
        yield from ()
        return {}

    def renew(self) -> Flow[bool]:
        """Return False."""
        yield from ()
        return False


def ignore_notice(sentence: str) -> None:
    """Ignore a notice."""


@dataclass(frozen=True)
class Context:
    """Shared by all requests of one client.

    Attributes:
        notify: called with a sentence for people when a request is retried.
    """

    credentials: Credentials = field(default_factory=Anonymous)
    notify: Callable[[str], None] = ignore_notice


def send_with_retries(context: Context, request: Request, deadline: Deadline, *, wait_s: float = 0) -> Flow[Response]:
    """Send an idempotent request, and retry it until there is a final response.

    Every response is final but 429 and 503 with Retry-After (and those of a gateway that does not reach the service),
    and 504 for a listing that is being read. The outcome of a job, which has Operation-Location and no Retry-After, is
    always final.

    Args:
        context: credentials, and whom to notify.
        request: the request.
        deadline: the time limit.
        wait_s: how long the service may hold the response back (seconds).

    Raises:
        Unavailable: there was no response in time.
        OutcomeUnknown: likewise, and the request has an idempotency key and may have been accepted.
    """
    request = replace(request, headers={"X-Request-ID": uuid.uuid4().hex, **request.headers})
    attempt, perhaps_accepted, last_detail = 0, False, ""
    while True:
        limited = replace(request, limit_s=min(wait_s + _GRACE_S, max(1.0, deadline.left_s + 1)))
        try:
            response = yield from _signed(context, limited)
        except ConnectionLost as lost:
            perhaps_accepted |= lost.sent
            delay_s, problem = backoff_s(attempt), unreachable(lost, request.headers.get("X-Request-ID"))
            if lost.permanent or not deadline.allows_reconnect(delay_s):
                raise _gave_up(problem, request, perhaps_accepted=perhaps_accepted) from None
        else:
            deadline.answered()
            delay_s, is_in_doubt = _delay_s(response, attempt), perhaps_accepted and request.method != "GET"
            problem = problem_of(response, request)
            if is_in_doubt and _says_nothing_of_the_change(response):
                raise _gave_up(problem, request, perhaps_accepted=True)
            if delay_s < 0:
                return response
            if not deadline.allows(delay_s):
                raise _gave_up(problem, request, perhaps_accepted=True) if is_in_doubt else error_of(problem)
        if problem.detail != last_detail:
            last_detail = problem.detail
            context.notify(f"{last_detail} Trying again for {deadline.left_s:.0f} s at most.")
        yield Pause(delay_s)
        attempt += 1


def _signed(context: Context, request: Request) -> Flow[Response]:
    signed = replace(request, headers={**request.headers, **(yield from context.credentials.headers())})
    response = yield from send(signed)
    if response.status == _UNAUTHORISED and (yield from context.credentials.renew()):
        signed = replace(request, headers={**request.headers, **(yield from context.credentials.headers())})
        response = yield from send(signed)
    if response.status in _GATEWAY and not response.is_problem and response.retry_after_s is None:
        raise ConnectionLost(f"A gateway answers {response.status} in the service's place", sent=True)
    return response


def _delay_s(response: Response, attempt: int) -> float:
    """The delay before the next attempt (seconds); negative for a final response."""
    if response.retry_after_s is None or response.status not in (*_LATER, _NOT_CACHED):
        return -1
    # The job that reads the listing is not the outcome of a job.
    if "operation-location" in response.headers and response.status != _NOT_CACHED:
        return -1
    return max(response.retry_after_s, 0.1, backoff_s(attempt) if response.retry_after_s < 1 else 0)


def _says_nothing_of_the_change(response: Response) -> bool:
    """Would the response be the same, whether an earlier attempt was accepted or not?

    It is of who asks or of a mistake of the service, or does not come from the service.
    """
    if response.status < _ERRORS or response.status in _LATER or "operation-location" in response.headers:
        return False
    return response.status in (_UNAUTHORISED, _FORBIDDEN) or response.status >= _MISTAKE or not response.is_problem


def unreachable(lost: ConnectionLost, request_id: str | None) -> Problem:
    """Return the problem for a request without an answer."""
    detail = f"{lost.detail}."
    return Problem(title="Unavailable", detail=detail, retryable=not lost.permanent, code="service-unavailable",
                   request_id=request_id)  # fmt: skip


def _gave_up(problem: Problem, request: Request, *, perhaps_accepted: bool) -> Unavailable | OutcomeUnknown:
    key = request.headers.get("Idempotency-Key")
    if request.method != "GET" and perhaps_accepted and key is None:
        return OutcomeUnknown(replace(problem, detail=f"{problem.detail} The request may have been accepted."))
    if key is None or not perhaps_accepted:
        return Unavailable(problem)
    detail = f"{problem.detail} The request may have been accepted: send it again with the same Idempotency-Key."
    return OutcomeUnknown(replace(problem, detail=detail, code="outcome-unknown"), idempotency_key=key)


def checked(response: Response, request: Request) -> Any:
    """Return the body of a response, parsed as JSON; None if it is empty.

    Raises:
        StorageApiError: the response is an error, or does not come from the service.
    """
    if response.status not in _OK:
        raise error_of(problem_of(response, request))
    if not response.body:
        return None
    try:
        return response.json()
    except ValueError:
        raise Unavailable(_no_api(request)) from None


def problem_of(response: Response, request: Request) -> Problem:
    """Return the problem of an error response; one made here if it does not come from the service."""
    try:
        document = response.json() if response.is_problem else None
    except ValueError:
        document = None
    if isinstance(document, Mapping):
        return Problem.of(document)
    if "location" in response.headers:
        detail = f"The service is not there: it leads to {response.headers['location']}. Check the address."
    elif response.status in (*_GATEWAY, *_LATER):
        detail = f"The service answers {response.status}; it takes no requests now."
    else:
        detail = f"{request.path} answers {response.status}, and not as the storage API does. Check the address."
    return Problem(title="Unexpected answer", status=response.status, detail=detail,
                   request_id=response.headers.get("x-request-id") or request.headers.get("X-Request-ID"))  # fmt: skip


def _no_api(request: Request) -> Problem:
    detail = "What answers there is not the storage API. Check the address, and whether a proxy asks you to sign in."
    return Problem(
        title="Unexpected answer", code="not-the-api", detail=detail, request_id=request.headers.get("X-Request-ID")
    )
