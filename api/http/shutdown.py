"""What is done when the process is asked to stop, and when it ends, with any server."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

#: A server that has just started may lose its first signal (granian does, until its runtime listens for it): SIGTERM
#: is sent once more after so long (seconds), which changes nothing for one that is ending.
_AGAIN_AFTER_S = 1.0


_at_end: list[Callable[[], object]] = []
os.register_at_fork(after_in_child=_at_end.clear)


def at_end(callback: Callable[[], object]) -> None:
    """Call ``callback`` when the main thread has ended; the last one first, each also where another one failed.

    Unlike the functions of `atexit`, also in a process that `multiprocessing` has forked, as a server's worker is.
    """
    if not _at_end:
        threading.Thread(target=_call_at_end, name="end").start()
    _at_end.append(callback)


def _call_at_end() -> None:
    # The interpreter waits for this thread, which is not a daemon.
    threading.main_thread().join()
    with ExitStack() as callbacks:
        for callback in _at_end:
            callbacks.callback(callback)


def on_termination(callback: Callable[[], None]) -> None:
    """Call ``callback`` in a thread of its own when the process gets SIGTERM or SIGINT.

    A second later the process gets SIGTERM once more. The server's own handlers stay as they are: the interpreter
    writes the number of each signal that has a handler to a socket (`signal.set_wakeup_fd`). Outside the main thread,
    where signals cannot be received, nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    received, sent = socket.socketpair()
    sent.setblocking(False)
    signal.set_wakeup_fd(sent.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(received, sent, callback), name="termination", daemon=True).start()


def _listen(received: socket.socket, _sent: socket.socket, callback: Callable[[], None]) -> None:
    """``_sent`` must stay open as long as this thread runs."""
    while True:
        numbers = received.recv(16)
        if not numbers or {signal.SIGTERM, signal.SIGINT} & set(numbers):
            break
    callback()
    time.sleep(_AGAIN_AFTER_S)
    os.kill(os.getpid(), signal.SIGTERM)
