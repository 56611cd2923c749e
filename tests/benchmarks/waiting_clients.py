"""Clients that wait for each change of a job."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.benchmarks.load import Connection, once, request


def header(head: bytes, name: str) -> str:
    """The value of a header of an answer.

    Raises:
        KeyError: the answer has none of this name.
    """
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    raise KeyError(name)


@contextmanager
def held_open(address: str, location: str, clients: int) -> Iterator[None]:
    """Run so many clients inside the block that wait for each change of a job."""
    end = threading.Event()
    connections = [Connection(address) for _ in range(clients)]
    first = header(once(address, request("GET", location))[1], "etag")

    def poll(connection: Connection) -> None:
        tag = first
        with suppress(OSError):
            while not end.is_set():
                _, head, _ = connection.ask(request("GET", location, Prefer="wait=25", If_None_Match=tag))
                tag = header(head, "etag")

    threads = [threading.Thread(target=poll, args=(connection,), daemon=True) for connection in connections]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for connection in connections:
            connection.close()
