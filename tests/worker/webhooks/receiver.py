"""A receiver of webhooks on this machine, which can be made to fail, hang or redirect."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Hook:
    """One request that was received."""

    id: str
    body: dict[str, Any]


@dataclass
class HookReceiver:
    """Takes webhooks; ``answer`` says with which status."""

    answer: Callable[[int], int] = lambda _: 204
    hooks: list[Hook] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    attempts: int = 0
    port: int = 0
    #: Where a redirect points to; empty: to this receiver itself.
    location: str = ""
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.came = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.paths.append(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.take(dict(self.headers.items()), body)
                self.send_response(status)
                if status // 100 == 3:
                    self.send_header("Location", outer.location or f"http://127.0.0.1:{outer.port}/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=1"

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Verify the signature as a receiver does, and record the request."""
        with self.came:
            self.attempts += 1
            status = self.answer(self.attempts)
            if status < 300:
                document = Webhook(SECRET).verify(body, headers)
                self.hooks.append(Hook(headers["webhook-id"], document))
            self.came.notify_all()
        return status

    def wait_for(self, count: int, timeout_s: float = 30) -> list[Hook]:
        """The webhooks, when there are so many."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.hooks) >= count, timeout_s), json.dumps(len(self.hooks))
            return list(self.hooks)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
