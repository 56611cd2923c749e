"""Request bodies: JSON objects, parsed strictly. What parsers interpret differently is refused."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any, NoReturn

from flask import request

from api.http.member_requests import current_member
from api.http.problems import MOST_ERRORS, Problem, invalid
from api.limits.slots import requester_of_request
from api.services import current_services, permit_released


def json_object() -> dict[str, Any]:
    """Return the body of the current request; an empty body is an empty object.

    Raises:
        Problem: `unsupported-media-type`, `invalid-request`, or `validation-failed` when it is not an object.
    """
    member = current_member()
    if member is not None:
        return member.body
    raw = received_body()
    # The server does not report that a chunked body is incomplete. JSON shows it, except where nothing was received.
    if not raw and _has_body():
        raise Problem("invalid-request", "The body came in chunks, and is empty or broke off. Send at least {}.")
    return _object_in(raw)


def require_empty_body() -> None:
    """Refuse a body with anything in it, for requests that take none."""
    member = current_member()
    fields = _object_in(received_body()) if member is None else member.body
    errors = [
        {"pointer": f"/{_escaped(name)}", "detail": "this request takes no fields"}
        for name in islice(fields, MOST_ERRORS)
    ]
    if errors:
        raise Problem("validation-failed", "This request takes no fields in its body.", errors=errors)


def received_body() -> bytes:
    """Return the whole body; an incomplete one is refused, since it could mean something else."""
    raw = _read()
    most = current_services().config.max_body_bytes
    # The size of a chunked body is known only at its end.
    if len(raw) > most:
        raise Problem(
            "body-too-large", f"The request's body is too large: at most {most} bytes.", limit="SAPI_MAX_BODY_BYTES"
        )
    if len(raw) < (request.content_length or 0):
        raise Problem("invalid-request", "The body broke off: it is shorter than Content-Length says.")
    return raw


def _read() -> bytes:
    """Read the body, which may take long: clients that may not change anything have few slots for it."""
    requester, slots = requester_of_request(), current_services().body_slots
    if requester[1] or not _has_body():
        return request.get_data(cache=True)
    if not slots.acquire(requester):
        detail = "Too many bodies of requests are coming in at this moment, of all users or of you: send it again."
        raise Problem("rate-limited", detail, headers={"Retry-After": "1"}, limit="SAPI_MAX_BODIES")
    try:
        with permit_released():
            return request.get_data(cache=True)
    finally:
        slots.release(requester)


def _has_body() -> bool:
    return bool(request.content_length) or "chunked" in request.headers.get("Transfer-Encoding", "").lower()


def _object_in(raw: bytes) -> dict[str, Any]:
    if not raw:
        return {}
    if request.content_encoding not in (None, "", "identity"):
        detail = "The body must come as it is, without a Content-Encoding."
        raise Problem("unsupported-media-type", detail, headers={"Accept-Encoding": "identity"})
    if request.mimetype != "application/json":
        detail = "The body must be JSON: send Content-Type: application/json."
        raise Problem("unsupported-media-type", detail, headers={"Accept": "application/json"})
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise invalid("", "must be a JSON object")
    return value


def parse_json(raw: bytes) -> Any:
    """Return the value of a body, parsed strictly.

    Raises:
        Problem: `invalid-request`.
    """
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
        # A lone surrogate, written as an escape, cannot be encoded as UTF-8.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise Problem("invalid-request", "The body is not valid UTF-8 text.") from None
    except json.JSONDecodeError as error:
        detail = f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise Problem("invalid-request", detail) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise Problem("invalid-request", "The body is not JSON: it has a number that is too long.") from None
    _check_depth(value)
    return value


def _too_deep() -> Problem:
    most = current_services().config.max_body_depth
    return Problem(
        "invalid-request", f"The body is nested too deeply: at most {most} levels.", limit="SAPI_MAX_BODY_DEPTH"
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    most = current_services().config.max_body_names
    if len(pairs) > most:
        detail = f"An object of the body has too many names: at most {most}."
        raise Problem("validation-failed", detail, limit="SAPI_MAX_BODY_NAMES")
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise Problem(
                "invalid-request", f"The body is ambiguous: {_quoted_name(name)} is there twice in one object."
            )
        members[name] = value
    return members


def _constant(name: str) -> NoReturn:
    raise Problem("invalid-request", f"The body is not JSON: {name} is no JSON number.")


def _check_depth(value: Any) -> None:
    level, depth, most = [value], 0, current_services().config.max_body_depth
    while containers := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        if depth > most:
            raise _too_deep()
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]


def _quoted_name(name: str) -> str:
    return repr(name.encode("utf-8", "replace").decode()[:100])


def _escaped(name: str) -> str:
    return name[:100].replace("~", "~0").replace("/", "~1")
