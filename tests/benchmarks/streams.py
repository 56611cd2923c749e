# ruff: noqa: T201 - the benchmark reads it
"""Clients in a process of their own: event streams, and changes at a steady rate, until its input ends."""

from __future__ import annotations

import selectors
import sys
import threading
import time
from contextlib import suppress

from tests.benchmarks.load import Connection, request

_CHANGERS = 5
_HEAD = b"HTTP/1.1 200"


def main(address: str, name: str, streams: int, changes_per_s: float) -> None:
    """Start, report the start, and finally report what was received."""
    over = threading.Event()
    reader = Reader(address, streams)
    threads = [threading.Thread(target=reader.run, args=(over,), daemon=True)]
    threads += [
        threading.Thread(target=_change, args=(address, name, number, _CHANGERS / changes_per_s, over), daemon=True)
        for number in range(_CHANGERS)
    ]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    began = time.monotonic()
    sys.stdin.read()
    over.set()
    seconds = time.monotonic() - began
    for thread in threads:
        thread.join(5)
    print(f"{reader.events / seconds:,.0f} events/s, {reader.pieces / seconds:,.0f} pieces/s, {reader.lost} cut off")


class Reader:
    """Reads all the streams, and counts events."""

    def __init__(self, address: str, streams: int) -> None:
        self.events = self.pieces = self.lost = 0
        self._selector = selectors.DefaultSelector()
        for _ in range(streams):
            connection = Connection(address)
            connection.open(request("GET", "/v4/events?all=true"), _HEAD)
            self._selector.register(connection, selectors.EVENT_READ)

    def run(self, over: threading.Event) -> None:
        """Read until the end."""
        while not over.is_set():
            for key, _ in self._selector.select(0.2):
                connection: Connection = key.fileobj  # type: ignore[assignment]
                data = connection.receive()
                self.pieces += 1
                self.events += data.count(b"event: job")
                if not data:
                    self.lost += 1
                    self._selector.unregister(connection)


def _change(address: str, name: str, number: int, every_s: float, over: threading.Event) -> None:
    """Add this thread's rule to the same export policy repeatedly, at a steady rate."""
    connection = Connection(address)
    due = time.monotonic() + every_s * number / _CHANGERS
    with suppress(OSError):
        while not over.wait(max(0.0, due - time.monotonic())):
            due += every_s
            connection.ask(request("PUT", f"/v4/{name}/export/default/rule/10.0.0.{number}"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
