"""Translates problems of /v4 to errors of /v3: the status, and ``{"message"}`` with words that clients search for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from flask import Response, g, request

from api.http.methods import SAFE_METHODS
from api.http.problems import MEDIA_TYPE
from api.services import current_services
from api.v3.fields import as_json

_BAD_REQUEST, _INTERNAL, _UNAVAILABLE = 400, 500, 503
#: Statuses by code; all others keep their status, except that 409 and similar ones become 400.
_STATUS = {
    "unauthenticated": 403,
    "too-many-snapshots": 409,
    "job-cancelled": 409,
    "backend-error": _INTERNAL,
    "backend-timeout": _INTERNAL,
    "timed-out": _INTERNAL,
    "resource-busy": _UNAVAILABLE,
    "result-expired": _UNAVAILABLE,
    # The only 504 is that of a change that has not ended yet.
    "not-cached": _UNAVAILABLE,
}
_SAME_STATUS = frozenset({400, 403, 404, 405, 412, 413, 414, 429, 431, 500, 501, 503, 504})
#: Retry-After (seconds) for problems that have none.
_RETRY_AFTER = {"resource-busy": "5", "backend-unavailable": "10", "result-expired": "1"}
_LOOK_FIRST = "It may or may not have been done: look before you send it again."


def name_in_messages(**names: str) -> None:
    """Set the names that messages about the current request use instead of those in its path.

    Keys are those of the path (``volume``, ``name``, ``policy``); ``exists`` names what exists already.
    """
    g.v3_names = names


def translate(response: Response) -> None:
    """Convert the problem document of a response to an error of /v3, in place."""
    if response.mimetype != MEDIA_TYPE:
        return
    document = orjson.loads(response.get_data())
    code = document["code"]
    status = _STATUS.get(code, document["status"] if document["status"] in _SAME_STATUS else _BAD_REQUEST)
    # A read may be repeated; a change was made, and is never answered otherwise.
    is_final = code == "result-expired" and request.method not in SAFE_METHODS
    status = _INTERNAL if is_final else status
    error: dict[str, Any] = {"message": _message(document)}
    if errors := _errors(document):
        error["errors"] = errors
    if code == "backend-error" and "backend_error" in document:
        error["errno"] = _errno(document["backend_error"]["code"])
    if "job" in document:
        error["job"] = document["job"]
    response.set_data(as_json(error))
    response.status_code = status
    response.content_type = "application/json"
    if code in _RETRY_AFTER and not is_final:
        response.headers.setdefault("Retry-After", _RETRY_AFTER[code])


def _errors(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the errors by field: ``/rules/0`` becomes ``rules.0``, the whole body an empty name."""
    return {
        str(error["pointer"]).removeprefix("/").replace("/", ".").replace("~1", "/").replace("~0", "~"): error["detail"]
        for error in document.get("errors", ())
    }


def _errno(code: str) -> int | str:
    return int(code) if code.isascii() and code.isdigit() and len(code) < 16 else code  # noqa: PLR2004 - exact in JSON


def _message(document: Mapping[str, Any]) -> str:
    code, detail = document["code"], str(document["detail"])
    names = {**(request.view_args or {}), **g.get("v3_names", {})}
    volume, policy = names.get("volume", ""), names.get("policy", "")
    if code == "backend-error" and "backend_error" in document:
        return str(document["backend_error"]["message"] or detail)
    if code == "backend-timeout" and request.method not in ("GET", "HEAD"):
        return f"{detail} {_LOOK_FIRST}"
    messages = {
        "no-such-subsystem": f"No such subsystem. Allowed values are: {', '.join(current_services().subsystems)}",
        "no-such-volume": f"No such volume: {volume}",
        "no-such-snapshot": f"No such snapshot: {names.get('name', '')}",
        "no-such-policy": f"No such policy: {policy}",
        "already-exists": f"{names.get('exists') or 'It already exists!'} {detail}",
        "lock-held": f"{volume} is already locked by {detail.rpartition(' by ')[2].rstrip('.')}!",
        "policy-in-use": f"Policy {policy} is in use. {detail}",
    }
    return messages.get(code, detail)
