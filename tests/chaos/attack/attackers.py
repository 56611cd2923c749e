"""The attacks of an anonymous client and of a user without roles, each repeated all the time."""

from __future__ import annotations

import base64
import http.client
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event

_VOLUMES = "/v4/dummy/volumes"
_TIMEOUT_S = 40.0
_SLOW_EVERY_S = 20.0


class Attacker:
    """One of them, in a process of its own with low priority."""

    def __init__(self, name: str, address: str, token: str) -> None:
        self._name_of_attacker = name
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._statuses: Counter[str] = Counter()
        self._rng = random.Random()

    def run(self, stop: Event, results: Queue[tuple[str, Counter[str]]], only: tuple[str, ...]) -> None:
        """Attack until ``stop`` is set (with these methods only, if given), then report the statuses of responses."""
        os.nice(15)
        kinds: list[tuple[Callable[[], None], int]] = [
            (self._read_by_job, 6), (self._read_anew, 2), (self._filter, 4), (self._wait, 150), (self._download, 4),
            (self._big_body, 4), (self._sign_in, 4), (self._retry, 2), (self._look_around, 4),
            (self._bodies_that_never_come, 1), (self._half_heads, 1), (self._idle, 1),
            (self._readers_that_do_not_read, 1),
            *([(self._stream, 150), (self._batch, 2)] if self._headers else []),
        ]  # fmt: skip
        threads = [
            threading.Thread(target=self._repeat, args=(kind, stop), daemon=True)
            for kind, n in kinds
            for _ in range(n)
            if not only or kind.__name__.strip("_") in only
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        results.put((self._name_of_attacker, self._statuses))

    def _repeat(self, kind: Callable[[], None], stop: Event) -> None:
        while not stop.is_set():
            with suppress(OSError, http.client.HTTPException):
                kind()

    def _ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> None:
        kind = path.partition("?")[0].split("/")[-1][:12] if method != "GET" else ""
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_S)
        try:
            sent = {**self._headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            answer.read()
            self._statuses[f"{answer.status}"] += 1
            if answer.status >= 500 and answer.status != 503:
                self._statuses[f"{answer.status} {method} {kind or path[:40]}"] += 1
        finally:
            connection.close()

    # --- requests

    def _name(self) -> str:
        return f"guess{self._rng.getrandbits(60):x}"

    def _read_by_job(self) -> None:
        path = f"{_VOLUMES}/:/f1/{'q' * 190}/{self._name()}/{'x' * 150}/snapshots"
        self._ask("GET", path, Prefer="respond-async")

    def _read_anew(self) -> None:
        self._ask("GET", _VOLUMES, Cache_Control="no-cache", Prefer="respond-async")

    def _filter(self) -> None:
        alternatives = "|".join(f"*{self._rng.getrandbits(20):x}*" for _ in range(33))
        self._ask("GET", f"{_VOLUMES}?name={alternatives}&sort=-size_used,name,state,junction_path&fields=name")

    def _wait(self) -> None:
        self._ask("GET", f"{_VOLUMES}/{self._name()}", Prefer="wait=25")

    def _download(self) -> None:
        self._ask("GET", self._rng.choice(["/openapi.json", _VOLUMES, "/metrics", "/", "/status", "/console/"]))

    def _big_body(self) -> None:
        body = b'{"rules": [' + b'"h.example.org",' * 60_000 + b'"h"]}'
        self._ask("POST", "/v4/dummy/export/attack", body, Content_Type="application/json")

    def _batch(self) -> None:
        member = b'{"method": "POST", "path": "/v4/dummy/volumes/v1/snapshots/s", "body": {}},'
        body = b'{"requests": [' + member * 999 + member[:-1] + b"]}"
        self._ask("POST", "/v4/batches", body, Content_Type="application/json")

    def _sign_in(self) -> None:
        guess = base64.b64encode(f"operator:{self._name()}".encode()).decode()
        kinds = [f"Basic {guess}", f"Bearer {guess}", "Bearer e30.e30.e30"]
        self._ask("GET", "/conf/me/roles", Authorization=self._rng.choice(kinds))

    def _retry(self) -> None:
        body = b"{" + b",".join(b'"n%d":1' % number for number in range(30_000)) + b"}"
        self._ask("POST", "/v4/jobs/01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90/retry", body, Content_Type="application/json")

    def _look_around(self) -> None:
        path = self._rng.choice(
            ["/v4/jobs?all=true&limit=1000", "/nothing/" + "a/" * 3000, "/v3/dummy/volumes/x", "/login"]
        )
        self._ask("GET", path)

    def _stream(self) -> None:
        self._ask("GET", "/v4/events")

    # --- connections

    def _open_connections(self, count: int, sent: bytes, *, small: bool = False) -> None:
        """Open connections, send incomplete requests, and watch the connections for a while."""
        host, _, port = self._address.partition(":")
        opened = []
        for _ in range(count):
            connection = socket.socket()
            connection.settimeout(5)
            if small:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with suppress(OSError):
                connection.connect((host, int(port)))
                connection.sendall(sent)
            opened.append(connection)
        time.sleep(_SLOW_EVERY_S)
        for connection in opened:
            connection.close()

    def _head(self, first: str, *more: str) -> bytes:
        headers = [f"{name}: {value}" for name, value in self._headers.items()]
        return "\r\n".join([first, "Host: storage.example.org", *headers, *more, "", ""]).encode()

    def _bodies_that_never_come(self) -> None:
        of_json = ("Content-Type: application/json", "Content-Length: 1000")
        path = self._rng.choice(["/v4/batches", "/v4/jobs/cancel", "/v4/dummy/volumes/x"])
        self._open_connections(530, self._head(f"POST {path} HTTP/1.1", *of_json) + b"{")

    def _half_heads(self) -> None:
        self._open_connections(200, b"GET /healthz HTTP/1.1\r\nHost: sto")

    def _idle(self) -> None:
        self._open_connections(1000, b"")

    def _readers_that_do_not_read(self) -> None:
        self._open_connections(150, self._head(f"GET {_VOLUMES} HTTP/1.1") * 3, small=True)
