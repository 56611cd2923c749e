"""A proxy in front of the API processes that closes a connection when the response is not in time."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

_CHUNK_BYTES = 65536


class CuttingProxy:
    """Forwards each connection to the next API process that accepts it, one request per connection.

    Args:
        ports: those of the API processes on this machine.
        cut_after_s: how long a response may take (seconds).
    """

    def __init__(self, ports: Sequence[int], cut_after_s: float) -> None:
        self._ports = itertools.cycle(ports)
        self._tries = len(ports)
        self._cut_after_s = cut_after_s
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        #: How many connections were closed before the response.
        self.cuts = 0
        threading.Thread(target=self._accept, name="cutting-proxy", daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            upstream = self._connect()
            if upstream is None:
                return
            with upstream, suppress(OSError):
                threading.Thread(target=_copy, args=(client, upstream), daemon=True).start()
                upstream.settimeout(self._cut_after_s)
                try:
                    while data := upstream.recv(_CHUNK_BYTES):
                        client.sendall(data)
                except TimeoutError:
                    self.cuts += 1

    def _connect(self) -> socket.socket | None:
        for _ in range(self._tries):
            with suppress(OSError):
                return socket.create_connection(("127.0.0.1", next(self._ports)), timeout=2)
        return None


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            target.sendall(data)
