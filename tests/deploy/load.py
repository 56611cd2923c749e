"""Clients that submit changes as the manual tells them to: they repeat what got no answer, under the same key."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_BUSY = (429, 503)
_OK = 300


@dataclass
class Seen:
    """What the clients saw."""

    #: Job ids by the name of the volume that is to be created.
    accepted: dict[str, str] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    #: Answers that break the promise: a 5xx that is no 503 with Retry-After, or anything else that is not expected.
    broken: list[str] = field(default_factory=list)
    #: Connections that were refused by one front end, or cut; another was tried then.
    refused: int = 0
    cut: int = 0
    #: Names that no front end would take in time.
    given_up: list[str] = field(default_factory=list)


class Clients:
    """Some threads that create one volume after another, each on any front end that answers."""

    def __init__(self, addresses: list[str], authorization: str, threads: int, pause_s: float) -> None:
        self._addresses = addresses
        self._authorization = authorization
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self.seen = Seen()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)

    def get_page(self, path: str) -> tuple[int, Any, str]:
        """Status, document and path of the next page, from any front end that answers; (0, None, "") when none does."""
        for _ in range(40):
            status, headers, body = self._ask_any("GET", path, {})
            if status and status not in _BUSY:
                following = re.search(r'<([^>]+)>; rel="next"', headers.get("link", ""))
                return status, json.loads(body or "null"), following[1] if following else ""
            threading.Event().wait(0.5)
        return 0, None, ""

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                name = f"up{next(self._numbers):05}"
            self._create(name)
            self._stop.wait(self._pause_s)

    def _create(self, name: str) -> None:
        """Submit until there is an answer that says more than to come again."""
        for _ in range(60):
            status, headers, body = self._ask_any("POST", f"/v4/dummy/volumes/{name}", {"Idempotency-Key": f'"{name}"'})
            if status:
                with self._lock:
                    self._note(name, status, headers, body)
            if status and status not in _BUSY:
                return
            threading.Event().wait(min(float(headers.get("retry-after", 0.5)), 2.0))
        self.seen.given_up.append(name)

    def _note(self, name: str, status: int, headers: dict[str, str], body: bytes) -> None:
        self.seen.statuses[status] += 1
        if status < _OK:
            self.seen.accepted[name] = json.loads(body)["id"]
        elif status not in _BUSY or "retry-after" not in headers:
            self.seen.broken.append(f"{name}: {status} {headers} {body[:300]!r}")

    def _ask_any(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """The answer of the first front end that gives one; status 0 when none does."""
        for address in random.sample(self._addresses, len(self._addresses)):
            connection = http.client.HTTPConnection(address, timeout=60)
            try:
                connection.connect()
            except OSError:
                self.seen.refused += 1
                continue
            try:
                return self._ask(connection, method, path, headers)
            except (OSError, http.client.HTTPException):
                self.seen.cut += 1
            finally:
                connection.close()
        return 0, {}, b""

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        body = json.dumps({"size_total": 1024**3}) if method == "POST" else None
        sent = {"Authorization": self._authorization, "Content-Type": "application/json", **headers}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
