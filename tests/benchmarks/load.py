"""Load generator with persistent connections: requests per second, latencies, and CPU time of the server."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_AUTHORIZATION = base64.b64encode(b"bench:bench").decode()
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Load:
    """The results of one run."""

    per_s: float
    latencies_s: Sequence[float]
    cpu_ms: float

    def percentile_ms(self, share: float) -> float:
        """Return a percentile of the latencies (milliseconds)."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else float("nan")


class Connection:
    """One HTTP/1.1 connection with little overhead."""

    def __init__(self, address: str, timeout_s: float = 100) -> None:
        host, _, port = address.partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(_LARGEST)

    def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Send a request; return status, head and body."""
        self._socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            part = self._socket.recv(65536)
            if not part:
                raise ConnectionError("closed")
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        missing = _length(head) - len(body)
        if missing <= 0:
            return int(head[9:12]), head, body
        chunks = [body]
        while missing > 0:
            size = self._socket.recv_into(self._buffer, min(missing, _LARGEST))
            if not size:
                raise ConnectionError("closed")
            chunks.append(bytes(self._buffer[:size]))
            missing -= size
        return int(head[9:12]), head, b"".join(chunks)

    def open(self, request: bytes, beginning: bytes) -> None:
        """Send a request for a stream; its response must begin so."""
        self._socket.sendall(request)
        received = self._socket.recv(65536)
        if not received.startswith(beginning):
            raise AssertionError(received[:300])

    def receive(self) -> bytes:
        """Return the next bytes of the stream; empty at the end."""
        try:
            return self._socket.recv(_LARGEST)
        except ConnectionError:
            return b""

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a request of a signed-in client."""
    sent = {"Host": "127.0.0.1", "Authorization": f"Basic {_AUTHORIZATION}"}
    if body:
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def once(address: str, sent: bytes) -> tuple[int, bytes, bytes]:
    """One request on a connection of its own."""
    connection = Connection(address)
    try:
        return connection.ask(sent)
    finally:
        connection.close()


def run(
    address: str, make: Callable[[], bytes], *, clients: int, seconds: float, expect: int, cpu_s: Callable[[], float]
) -> Load:
    """Send requests from so many clients, each as fast as it gets responses."""
    latencies: list[list[float]] = [[] for _ in range(clients)]
    wrong: list[int] = []
    begin = threading.Barrier(clients + 1)
    until = [0.0]

    def client(number: int) -> None:
        connection = Connection(address)
        connection.ask(make())
        begin.wait()
        while (sent_at := time.perf_counter()) < until[0]:
            status, _, _ = connection.ask(make())
            latencies[number].append(time.perf_counter() - sent_at)
            if status != expect:
                wrong.append(status)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    until[0] = time.perf_counter() + 1e9
    for thread in threads:
        thread.start()
    # Each client has had its first response by then, which is not counted.
    begin.wait()
    cpu_before = cpu_s()
    until[0] = time.perf_counter() + seconds
    for thread in threads:
        thread.join()
    if wrong:
        raise AssertionError(f"{address} answered {sorted(set(wrong))}, not {expect}")
    every = [latency for of_client in latencies for latency in of_client]
    return Load(len(every) / seconds, every, (cpu_s() - cpu_before) * 1000 / max(1, len(every)))
