"""HTTP requests to the sign-in provider with limits for the whole time and the size of the response."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any, NoReturn

import orjson
import requests
from urllib3.exceptions import HTTPError

from api.services import permit_released

#: The time limit of one request, including the whole response (seconds).
COMMAND_TIMEOUT_S = 2.0
_LARGEST_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024
_CLIENT_ERRORS = 4  # statuses 4xx
#: Of these, those after which the same request may succeed: 408, 425 and 429.
_TEMPORARY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
#: Errors of this service's own registration (RFC 6749, 5.2), such as a wrong secret: they say nothing about the user.
_OF_CLIENT = ("invalid_client", "unauthorized_client")


class ProviderUnavailable(Exception):
    """The sign-in provider does not answer, or its answer is malformed."""


class ProviderRefused(ProviderUnavailable):
    """The sign-in provider refuses a user or a token for good (status 4xx)."""

    def __init__(self, message: str = "", error: object = None) -> None:
        """``error``: OAuth2's code for the reason; None where the answer has none."""
        super().__init__(message)
        self.error = error


def request_json(method: str, url: str, **options: Any) -> dict[str, Any]:
    """Return the provider's answer, a JSON object.

    Raises:
        ProviderUnavailable: there is none in time.
    """
    deadline = time.monotonic() + COMMAND_TIMEOUT_S
    options.setdefault("headers", {})["Accept"] = "application/json"
    try:
        with (
            permit_released(),
            requests.request(
                method, url, timeout=COMMAND_TIMEOUT_S / 2, allow_redirects=False, stream=True, **options
            ) as response,
        ):
            body = _read(response, deadline)
    except (requests.RequestException, HTTPError, OSError) as exc:
        raise ProviderUnavailable(f"{type(exc).__name__} at {url}") from None
    if response.status_code != HTTPStatus.OK:
        raise_status(response.status_code, _error_in(body), url)
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ProviderUnavailable(f"no JSON at {url}") from None
    if not isinstance(answer, dict):
        raise ProviderUnavailable(f"no JSON object at {url}")
    return answer


def raise_status(status: int, error: object, url: str) -> NoReturn:
    """Raise for an answer with such a status; ``error``: OAuth2's code for the reason, if it has one.

    Raises:
        ProviderRefused: a user or a token is refused for good.
        ProviderUnavailable: it may be otherwise later, or when this service's registration was mended.
    """
    message = f"status {status} at {url}" + (f": {error!r:.80}" if error else "")
    if status // 100 == _CLIENT_ERRORS and status not in _TEMPORARY and error not in _OF_CLIENT:
        raise ProviderRefused(message, error)
    raise ProviderUnavailable(message)


def _error_in(body: bytes) -> object:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return answer.get("error") if isinstance(answer, dict) else None


def _read(response: requests.Response, deadline: float) -> bytes:
    body = b""
    # Each piece as it comes: a read of so many bytes would wait for all of them, however slowly they come.
    while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):
        body += piece
        if time.monotonic() > deadline or len(body) > _LARGEST_BYTES:
            raise ProviderUnavailable("the answer is too slow or too large")
    return body
