"""The audit log: one line of JSON for each decision on who may do what, in a stream of its own."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import Any

from flask import Flask, Response, g, has_request_context, request

from api.http.request_ids import request_id
from worker.config.settings import BadSettings

logger = logging.getLogger("audit")
_STANDARD_OUTPUT = "-"
_LONGEST = 512
#: The path of job resources, in front of the id.
_JOBS = "/v4/jobs/"


def init_app(app: Flask, destination: str) -> None:
    """Write decisions to the file ``destination`` (``-``: standard output), at the latest when a request ends."""
    handler = _handler(destination)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for old in logger.handlers:
        old.close()
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    app.after_request(_write_pending)


def _handler(destination: str) -> logging.Handler:
    if destination == _STANDARD_OUTPUT:
        return logging.StreamHandler(sys.stdout)
    try:
        return WatchedFileHandler(destination)
    except OSError as error:
        raise BadSettings(f"SAPI_AUDIT_LOG: {destination} cannot be written: {error.strerror}") from None


def concerns(event: str) -> None:
    """Say what the decisions of this request are about, if not about access."""
    g.audit_event = event


def decide(**decision: Any) -> None:
    """Note a decision that the rest of this request may say more about; it is written when the request ends."""
    g.audit_pending = getattr(g, "audit_pending", {}) | decision


def pending() -> dict[str, Any]:
    """What was noted of the request at hand, and is not written yet."""
    return dict(getattr(g, "audit_pending", {}))


def record(**decision: Any) -> None:
    """Write one decision, together with what was noted of it before.

    Args:
        decision: what is known of ``who``, ``how``, ``role``, ``operation``, ``target``, ``job_id``, ``allowed`` and
            ``reason`` (why not); who, how, role and target are known from ``auth.require``.
    """
    pending = getattr(g, "audit_pending", {}) if has_request_context() else {}
    if has_request_context():
        g.audit_pending = {}
    _write(pending | decision)


def _write(decision: dict[str, Any]) -> None:
    if not has_request_context():
        write_event({"time": _now(), "event": "access"} | decision)
        return
    event = getattr(g, "audit_event", "access")
    write_event(request_event(event, request.method, request.path, request.remote_addr, request_id()) | decision)


def request_event(event: str, method: str, target: str, address: str | None, request_id: str) -> dict[str, Any]:
    """Return the fields with which every event of a request begins."""
    return {
        "time": _now(), "event": event, "method": method, "target": target, "address": address,
        "request_id": request_id,
    }  # fmt: skip


def write_event(event: dict[str, Any]) -> None:
    """Write one line."""
    line = {name: _shortened(value) for name, value in event.items()}
    logger.info(json.dumps(line, ensure_ascii=True))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _shortened(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int) else str(value)[:_LONGEST]


def _write_pending(response: Response) -> Response:
    if "allowed" in getattr(g, "audit_pending", {}):
        _, _, job = response.headers.get("Operation-Location", "").rpartition(_JOBS)
        record(status=response.status_code, **({"job_id": job} if job else {}))
    return response
