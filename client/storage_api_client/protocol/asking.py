"""One request, sent again until there is an answer that stays, or the time is over."""

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
_UNAUTHORISED = 401
_GATEWAY = (502, 503, 504)
_UNAVAILABLE = 503
_LATER = (429, _UNAVAILABLE)
_NOT_CACHED = 504
#: Beyond the time for which the service may hold an answer back, in seconds.
_GRACE_S = 15.0


class Credentials(Protocol):
    """How to sign in; both are flows, because a token may have to be fetched."""

    def headers(self) -> Flow[Mapping[str, str]]:
        """Return the headers that say who asks."""
        ...

    def renew(self) -> Flow[bool]:
        """Get new credentials after a 401; False when there are none to be had."""
        ...


class Anonymous:
    """Nobody."""

    def headers(self) -> Flow[Mapping[str, str]]:
        """Return no headers."""
        yield from ()
        return {}

    def renew(self) -> Flow[bool]:
        """Return False."""
        yield from ()
        return False


def quietly(sentence: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Context:
    """What all requests of one client share.

    Attributes:
        notify: told, in a sentence, why something takes longer.
    """

    credentials: Credentials = field(default_factory=Anonymous)
    notify: Callable[[str], None] = quietly


def ask(
    context: Context, request: Request, deadline: Deadline, *, wait_s: float = 0, once: bool = False
) -> Flow[Response]:
    """Send a request that is harmless to repeat, until there is an answer that stays.

    One that is not is sent ``once``: again only where it cannot have been accepted. All answers stay but 429 and 503
    with Retry-After (and those of a gateway that reaches no service), and 504 for a listing that is being read. The end
    of a job, which has Operation-Location and no Retry-After, always stays.

    Raises:
        Unavailable: there is none in time.
        OutcomeUnknown: likewise, and the request has a key and may have been accepted.
    """
    request = replace(request, headers={"X-Request-ID": uuid.uuid4().hex, **request.headers})
    attempt, perhaps_accepted, last_detail = 0, False, ""
    while True:
        limited = replace(request, limit_s=min(wait_s + _GRACE_S, max(1.0, deadline.left_s + 1)))
        try:
            response = yield from _signed(context, limited)
        except ConnectionLost as lost:
            perhaps_accepted |= lost.sent
            delay_s, problem = backoff_s(attempt), _unreachable(lost, request)
            if lost.permanent or (once and lost.sent) or not deadline.allows_reconnect(delay_s):
                raise _gave_up(problem, request, perhaps_accepted=perhaps_accepted) from None
        else:
            delay_s = _delay_s(response, attempt)
            if delay_s < 0:
                deadline.answered()
                return response
            problem = problem_of(response, request)
            if not deadline.allows(delay_s) or (once and response.status == _UNAVAILABLE):
                raise error_of(problem)
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
    """When to ask again; less than 0 when the answer stays."""
    if response.retry_after_s is None or response.status not in (*_LATER, _NOT_CACHED):
        return -1
    # What reads the listing is no end.
    if "operation-location" in response.headers and response.status != _NOT_CACHED:
        return -1
    return max(response.retry_after_s, 0.1, backoff_s(attempt) if response.retry_after_s < 1 else 0)


def _unreachable(lost: ConnectionLost, request: Request) -> Problem:
    detail = f"{lost.detail}."
    return Problem(title="Unavailable", detail=detail, retryable=not lost.permanent, code="service-unavailable",
                   request_id=request.headers.get("X-Request-ID"))  # fmt: skip


def _gave_up(problem: Problem, request: Request, *, perhaps_accepted: bool) -> Unavailable | OutcomeUnknown:
    key = request.headers.get("Idempotency-Key")
    if request.method != "GET" and perhaps_accepted and key is None:
        return OutcomeUnknown(replace(problem, detail=f"{problem.detail} The request may have been accepted."))
    if key is None or not perhaps_accepted:
        return Unavailable(problem)
    detail = f"{problem.detail} The request may have been accepted: send it again with the same Idempotency-Key."
    return OutcomeUnknown(replace(problem, detail=detail, code="outcome-unknown"), idempotency_key=key)


def checked(response: Response, request: Request) -> Any:
    """Return an answer's body, read as JSON; None where there is none.

    Raises:
        StorageApiError: it is an error, or was not answered by the service.
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
    """Return what an error says; made up where it was not the service that answered."""
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
