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

logger = logging.getLogger("audit")
_STANDARD_OUTPUT = "-"
_LONGEST = 512
#: What stands before a job's id in the answer to whoever asked for it.
_JOBS = "/v4/jobs/"


def init_app(app: Flask, destination: str) -> None:
    """Write decisions to the file ``destination`` (``-``: standard output), at the latest when a request ends."""
    handler = logging.StreamHandler(sys.stdout) if destination == _STANDARD_OUTPUT else WatchedFileHandler(destination)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for old in logger.handlers:
        old.close()
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    app.after_request(_write_pending)


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
    known: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": "access"}
    if has_request_context():
        known["event"] = getattr(g, "audit_event", "access")
        known |= {"method": request.method, "target": request.path, "address": request.remote_addr}
        known["request_id"] = request_id()
    line = {name: _shortened(value) for name, value in (known | decision).items()}
    logger.info(json.dumps(line, ensure_ascii=True))


def _shortened(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int) else str(value)[:_LONGEST]


def _write_pending(response: Response) -> Response:
    if "allowed" in getattr(g, "audit_pending", {}):
        _, _, job = response.headers.get("Operation-Location", "").rpartition(_JOBS)
        record(status=response.status_code, **({"job_id": job} if job else {}))
    return response
