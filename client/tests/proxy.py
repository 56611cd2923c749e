"""A proxy between a client and the service that cuts, delays, refuses, and answers in the service's place."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Proxy:
    """Passes bytes on, both ways, unless configured otherwise.

    Attributes:
        lose: answers that are still to be lost: the service gets the request, the client gets nothing.
        answers: what the next requests are answered with, in the service's place.
        hold: while this is set, answers are held back.
        requests: the first lines of all requests that were seen.
        seen: all bytes that clients sent.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self.lose = 0
        self.answers: list[bytes] = []
        self.pass_on = threading.Event()
        self.pass_on.set()
        self.requests: list[str] = []
        self.seen = b""
        #: Set when an answer was passed on.
        self.answered = threading.Event()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._port = 0
        self.listen()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def listen(self) -> None:
        """Take connections (again)."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Cut all connections, and refuse new ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._upstream) as upstream:
            with self._lock:
                self._open |= {client, upstream}
            back = threading.Thread(target=self._back, args=(upstream, client), daemon=True)
            back.start()
            with suppress(OSError):
                while data := client.recv(65536):
                    if not self._answered(client, data):
                        upstream.sendall(data)
            with suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)
            back.join()
            with self._lock:
                self._open -= {client, upstream}

    def _answered(self, client: socket.socket, data: bytes) -> bool:
        """Note a request; was it answered here?"""
        self.seen += data
        first = data.split(b"\r\n", 1)[0].decode("latin-1")
        if not first.endswith("HTTP/1.1"):
            return False  # The rest of a body.
        self.requests.append(first)
        with self._lock:
            answer = self.answers.pop(0) if self.answers else None
        if answer is None:
            return False
        client.sendall(answer)
        client.shutdown(socket.SHUT_RDWR)
        return True

    def _back(self, upstream: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := upstream.recv(65536):
                self.pass_on.wait(30)
                with self._lock:
                    is_lost = self.lose > 0
                    self.lose -= is_lost
                if is_lost:
                    break
                client.sendall(data)
                self.answered.set()
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """A proxy in front of ``url``."""
    proxy = Proxy(url)
    try:
        yield proxy
    finally:
        proxy.pass_on.set()
        proxy.refuse()


def answer(status: str, body: str = "", *, kind: str = "application/problem+json", **headers: str) -> bytes:
    """An answer in the service's place; it is the last on its connection."""
    lines = {"Content-Type": kind, "Content-Length": str(len(body.encode())), "Connection": "close", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n{body}".encode()
