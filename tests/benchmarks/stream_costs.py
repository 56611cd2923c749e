"""``python -m tests.benchmarks.stream_costs``: what event streams cost one API process.

A number of clients follow the same user's jobs while changes are made at a steady rate. How late an end is sent is
measured against the time in the job's own record. Prints the rows of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from statistics import median

from tests.benchmarks.load import Connection, request
from tests.benchmarks.stack import Stack, stack

_VOLUMES = 200
_FOLLOW = request("GET", "/v4/events", Accept="text/event-stream")


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - for whoever typed the command


def _follow(address: str) -> socket.socket:
    """Open a stream; retries, since slots of ended streams are freed only at their next heartbeat."""
    host, _, port = address.partition(":")
    until = time.monotonic() + 40
    while True:
        stream = socket.create_connection((host, int(port)), timeout=60)
        stream.sendall(_FOLLOW)
        if stream.recv(65536).startswith(b"HTTP/1.1 200"):
            return stream
        stream.close()
        if time.monotonic() > until:
            raise RuntimeError("a stream was refused")
        time.sleep(1)


class Followers:
    """Clients that read event streams, all in one thread; one of them measures how late each end of a job is."""

    def __init__(self, address: str, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets = [_follow(address) for _ in range(count)]
        self.late_s: list[float] = []
        self.received = 0
        self._stop = threading.Event()
        self._rest = b""
        for number, sock in enumerate(self._sockets):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, number)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all streams."""
        self._stop.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.2):
                part = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
                self.received += part.count(b"event: job")
                if key.data == 0:
                    self._look(part)

    def _look(self, part: bytes) -> None:
        now = time.time()
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            if line.startswith(b"data: ") and b'"finished_at":"' in line:
                ended = json.loads(line[6:])["finished_at"]
                self.late_s.append(now - datetime.fromisoformat(ended).timestamp())


def stream_row(running: Stack, count: int, changes: int, per_s: float) -> str:
    """Measure CPU and memory of the API process with so many streams, and how late their events are."""
    followers = Followers(running.ours, count) if count else None
    connection = Connection(running.ours)
    names = [volume["name"] for volume in json.loads(connection.ask(request("GET", "/v4/quick/volumes"))[2])]
    before, began = running.processes.cpu_s("ours"), time.perf_counter()
    for number in range(changes):
        path = f"/v4/quick/volumes/{names[number % len(names)]}/locks/host"
        status, _, answer = connection.ask(request("PUT", path))
        if status != 202:
            raise RuntimeError(answer[:200])
        time.sleep(max(0.0, began + (number + 1) / per_s - time.perf_counter()))
    time.sleep(2)
    cpu_ms = (running.processes.cpu_s("ours") - before) * 1000 / changes
    memory = running.processes.memory_mb("ours")
    late = sorted(followers.late_s) if followers else []
    events = followers.received if followers else 0
    if followers:
        followers.close()
    lateness = f"{median(late) * 1000:.0f} / {late[int(len(late) * 0.99) - 1] * 1000:.0f} ms" if late else ""
    return f"| {count} | {events:,} | {memory:.0f} MiB | {cpu_ms:.1f} ms | {lateness} |"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What event streams cost.")
    parser.add_argument("--streams", default="0,1,50,200")
    parser.add_argument("--changes", type=int, default=300)
    parser.add_argument("--per-second", type=float, default=20)
    options = parser.parse_args()
    sizes = {"quick": {"volumes": _VOLUMES}}
    with tempfile.TemporaryDirectory(prefix="streams-") as folder, stack(Path(folder), sizes, api_workers=1) as running:
        for count in map(int, options.streams.split(",")):
            _tell(stream_row(running, count, options.changes, options.per_second))


if __name__ == "__main__":
    main()
