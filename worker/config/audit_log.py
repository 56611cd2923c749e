"""The audit log: lines of JSON in a stream of its own, limited in rate so that a flood of requests cannot fill it.

What was changed, and who signed in or out, is always written. Reads and refusals are written up to a rate for each
source; events above it are only counted, in one line.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from types import MappingProxyType
from typing import Any

import structlog

from worker.config.networks import network_of

logger = logging.getLogger("audit")
log = structlog.get_logger(__name__)
_STANDARD_OUTPUT = "-"
_LONGEST = 512
_WINDOW_S = 60.0
#: One network may write this fraction (1/n) of the lines of all anonymous clients.
_NETWORK_SHARE = 10
_STRANGERS = "strangers"
_NOTHING: Mapping[str, int] = MappingProxyType({})


class _AuditFile(WatchedFileHandler):
    """A file that may be moved away, or not be writable for a while: its lines are then in the process's own log.

    The request that a line is about may have been accepted already, so that it must not fail.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            # It could not be opened again.
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        log.error("audit.not-written", error=type(sys.exc_info()[1]).__name__, line=record.getMessage())


def open_log(destination: str) -> None:
    """Write to the file ``destination`` (``-``: standard output) from now on.

    Raises:
        OSError: the file cannot be written.
    """
    standard = destination == _STANDARD_OUTPUT
    handler = logging.StreamHandler(sys.stdout) if standard else _AuditFile(destination)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for old in logger.handlers:
        old.close()
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


class AuditLog:
    """Writes events, with a rate limit for each source."""

    def __init__(self, rate: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            rate: lines a minute for reads and refusals of one user, and of all anonymous clients (0: no limit).
            clock: a monotonic clock in seconds.
        """
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._ends_at = float("-inf")
        self._written: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def write(self, event: Mapping[str, Any]) -> None:
        """Write one event with the time, unless its source is above its rate."""
        with self._lock:
            left_out = self._next_window()
            fits = self._fits(event)
        for source, count in left_out.items():
            _write({"event": "left-out", "source": source, "count": count})
        if fits:
            _write(event)

    def flush(self) -> None:
        """Write how many events were left out; called periodically, since no further event may come."""
        with self._lock:
            left_out, self._left_out = self._left_out, Counter()
        for source, count in left_out.items():
            _write({"event": "left-out", "source": source, "count": count})

    def _next_window(self) -> Mapping[str, int]:
        """Begin the next minute when it is due; return how many events were left out in the last one, by source."""
        if self._clock() < self._ends_at:
            return _NOTHING
        left_out, self._left_out = self._left_out, Counter()
        self._written.clear()
        self._ends_at = self._clock() + _WINDOW_S
        return left_out

    def _fits(self, event: Mapping[str, Any]) -> bool:
        if not self._rate or _is_always_written(event):
            return True
        who = str(event.get("who") or "")
        is_authenticated = (
            bool(who) and event.get("auth_method") != "anonymous" and event.get("reason") not in _UNPROVEN
        )
        if is_authenticated:
            return self._count(f"user {who}", self._rate)
        network = network_of(str(event.get("address") or ""))
        if not self._count(network, max(1, self._rate // _NETWORK_SHARE)):
            return False
        return self._count(_STRANGERS, self._rate)

    def _count(self, source: str, limit: int) -> bool:
        if self._written[source] >= limit:
            # Of the many networks of one attack only the first are counted separately.
            counted_as = source if source in self._left_out or len(self._left_out) < _MOST_NAMED else _STRANGERS
            self._left_out[counted_as] += 1
            return False
        self._written[source] += 1
        return True


_MOST_NAMED = 100
#: Reasons of refusals of clients whose identity was not verified.
_UNPROVEN = frozenset({"unauthenticated", "rate-limited", "sign-in-unavailable"})


def _is_always_written(event: Mapping[str, Any]) -> bool:
    """Is it a change that was allowed, or the beginning or end of a session?"""
    if not event.get("allowed"):
        return False
    return event.get("event") != "access" or event.get("method") not in ("GET", "HEAD", "OPTIONS")


def _write(event: Mapping[str, Any]) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"time": now} | {name: _shortened(value) for name, value in event.items()}
    logger.info(json.dumps(line, ensure_ascii=True))


def _shortened(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int) else str(value)[:_LONGEST]
