"""Ends the streams when the process is told to end: the server waits for open requests, and streams last an hour."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable

_ENDING = frozenset({signal.SIGTERM, signal.SIGINT})


def on_end_signal(call: Callable[[], None]) -> None:
    """Call ``call`` in a thread when SIGTERM or SIGINT comes, besides what handles these signals.

    To be called in the main thread. Handlers belong to the server, which sets its own later.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, writing, call), name="end-signal", daemon=True).start()


def _watch(reading: socket.socket, writing: socket.socket, call: Callable[[], None]) -> None:
    with reading, writing:
        while number := reading.recv(1):
            if number[0] in _ENDING:
                call()
                return
