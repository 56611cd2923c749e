"""Answers again what was answered from a listing before, while nothing that the answer rests on has changed.

The whole application has answered the same request of the same client once. As long as Redis says the same of the
listing, word for word, and of the client's session, the same bytes go out: without routing, views and hooks, but with
the line in the log, the line in the audit log and the count that every request has.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import redis
from flask import request

from api.auth import audit, principal
from api.auth.services import desk
from api.http.buffering import Application, Environ, StartResponse
from api.http.request_ids import given_or_new
from api.monitoring.request_metrics import Counts
from api.response_cache.log_lines import Lines
from api.services import Parts
from worker.listings.repository import Standing
from worker.store.resp import Glances, command, values

_MARK = "sapi.repeatable"
_AWAY = "sapi.redis_away"
_MOST = 512
#: Requests with one of these are the application's: their answers depend on the time, or they have a body.
_NOT_OURS = ("HTTP_CACHE_CONTROL", "HTTP_PRAGMA", "HTTP_PREFER", "HTTP_TRANSFER_ENCODING")
#: Headers that each answer has of its own.
_OWN = frozenset({"age", "cache-status", "x-request-id"})
_LINES_OF_TIME = 5


@dataclass(slots=True)
class Repeatable:
    """An answer, and what it rests on."""

    question: bytes
    values: int
    #: What Redis answered, without the time.
    state: bytes
    as_of_ms: int
    lines: Lines
    counts: Counts
    status: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


def mark(held: Parts, standing: Standing, parent_thing: str, body: bytes) -> None:
    """Say that the answer to the request at hand rests on this standing and nothing else (but the session)."""
    who = principal()
    session_key = desk().sessions.current_key() if who.how == "session" else ""
    anonymous = who.how == "anonymous" and "HTTP_COOKIE" not in request.environ
    if not standing.raw or not (anonymous or who.how == "basic" or session_key):
        return
    asked = list(held.listings.questions(standing.thing, parent_thing))
    state = _without_time(standing.raw)
    if session_key:
        asked.append(("EXISTS", session_key))
        state += b":1\r\n"
    found = values(standing.raw)
    request.environ[_MARK] = Repeatable(
        b"".join(command(*words) for words in asked),
        len(found or ()) + bool(session_key),
        state,
        standing.as_of_ms,
        Lines.of_request(who.name, audit.pending()),
        Counts.of_request(),
        body=body,
    )


def refuse_away() -> None:
    """Raise what a glance at Redis has raised: asking once more would take as long again."""
    error = request.environ.get(_AWAY)
    if error is not None:
        raise error


def _without_time(raw: bytes) -> bytes:
    return raw.split(b"\r\n", _LINES_OF_TIME)[-1]


class Repeats:
    """In front of the application."""

    def __init__(self, application: Application, held: Parts) -> None:
        self._application = application
        self._glances = Glances(held.redis)
        self._fresh_ms = held.settings.cache_fresh * 1000
        self._fresh_s = held.settings.cache_fresh
        self._most_bytes = held.config.hot_bytes
        self._known: OrderedDict[Any, Repeatable] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET" or environ.get("CONTENT_LENGTH") or any(n in environ for n in _NOT_OURS):
            return self._application(environ, start_response)
        name = _name(environ)
        known = self._known.get(name)
        if known is None:
            return self._remembering(name, environ, start_response)
        began = time.perf_counter()
        try:
            age_s = self._age_s(known)
        except redis.RedisError as error:
            environ[_AWAY] = error
            return self._application(environ, start_response)
        request_id = given_or_new(environ.get("HTTP_X_REQUEST_ID", ""))
        if age_s is None:
            return self._remembering(name, environ, start_response)
        start_response(
            known.status,
            [
                *known.headers,
                ("Age", str(age_s)),
                ("Cache-Status", f"storage-api; hit; ttl={self._fresh_s - age_s}"),
                ("X-Request-ID", request_id),
            ],
        )
        elapsed_s = time.perf_counter() - began
        known.lines.write(request_id, elapsed_s)
        known.counts.add(known.lines.status, elapsed_s)
        return [known.body]

    def _age_s(self, known: Repeatable) -> int | None:
        """How old the answer is, if it still stands and is fresh."""
        raw = self._glances.ask(known.question, known.values)
        if raw is None:
            return None
        _, _, seconds, _, micros, state = raw.split(b"\r\n", _LINES_OF_TIME)
        age_ms = int(seconds) * 1000 + int(micros) // 1000 - known.as_of_ms
        return max(0, age_ms // 1000) if state == known.state and age_ms <= self._fresh_ms else None

    def _remembering(self, name: Any, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            found = environ.get(_MARK)
            if found is not None and status[:3] in ("200", "304") and not any(n == "Set-Cookie" for n, _ in headers):
                found.status = status
                found.lines.status = int(status[:3])
                found.headers = [header for header in headers if header[0].lower() not in _OWN]
                self._keep(name, found)
            return start_response(status, headers, *more)

        return self._application(environ, start)

    def _keep(self, name: Any, found: Repeatable) -> None:
        with self._lock:
            self._known.pop(name, None)
            self._known[name] = found
            bodies = {id(each.body): len(each.body) for each in self._known.values()}
            while len(self._known) > _MOST or sum(bodies.values()) > self._most_bytes:
                _, oldest = self._known.popitem(last=False)
                bodies.pop(id(oldest.body), None)


def _name(environ: Environ) -> tuple[Any, ...]:
    """All that an answer may depend on, but for what is asked of Redis."""
    headers = [item for item in environ.items() if item[0].startswith("HTTP_") and item[0] != "HTTP_X_REQUEST_ID"]
    return (
        environ.get("PATH_INFO"), environ.get("QUERY_STRING"), environ.get("RAW_URI"),
        environ.get("REMOTE_ADDR"), environ.get("wsgi.url_scheme"), *headers,
    )  # fmt: skip
