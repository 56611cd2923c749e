"""The lines of a request that is answered again: as the application wrote them, with a new id and a new time."""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import orjson
from flask import request

from api.auth import audit

_log = logging.getLogger("api.http.request_hooks")


@dataclass(slots=True)
class Lines:
    """What is always the same in them."""

    method: str
    path: str
    who: str
    address: str
    decision: Mapping[str, Any]
    status: int = 200

    @classmethod
    def of_request(cls, who: str, decision: Mapping[str, Any]) -> Self:
        """Those of the request at hand."""
        return cls(request.method, request.path[:1024], who, request.remote_addr or "", dict(decision))

    def write(self, request_id: str, elapsed_s: float) -> None:
        """Write both."""
        now = datetime.now(UTC)
        if _log.isEnabledFor(logging.INFO):
            _emit(logging.getLogger(), {
                "request_id": request_id, "method": self.method, "path": self.path, "status": self.status,
                "ms": round(elapsed_s * 1000, 1), "requested_by": self.who, "event": "request", "level": "info",
                "logger": "api.http.request_hooks", "timestamp": now.isoformat().replace("+00:00", "Z"),
                "process": "api",
            })  # fmt: skip
        _emit(audit.logger, {
            "time": now.isoformat(timespec="milliseconds"), "event": "access", "method": self.method,
            "target": self.path, "address": self.address, "request_id": request_id, **self.decision,
            "status": self.status,
        })  # fmt: skip


def _emit(logger: logging.Logger, line: Mapping[str, Any]) -> None:
    """Write a line that is whole already to where the logger's lines go."""
    text = orjson.dumps(line).decode()
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.acquire()
            try:
                if isinstance(handler, logging.handlers.WatchedFileHandler):
                    handler.reopenIfNeeded()
                handler.stream.write(text + "\n")
                handler.flush()
            finally:
                handler.release()
