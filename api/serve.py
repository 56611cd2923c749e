"""Granian's command line, with worker processes that end on signals at any time, and with their parent.

``python -m api.serve --interface wsgi api.wsgi:app``. Three things that granian leaves open: a worker process that is
forked or still importing has its parent's handlers of signals, which do nothing there, so that SIGTERM in its first
seconds would be lost and the server would never end; a killed parent would leave its workers behind, listening on the
same port beside those of the parent that is started in its place, with code and settings of yesterday; and each
connection is an open file, of which a process gets 1,024 where nobody asks for more.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

from granian.cli import entrypoint

_PR_SET_PDEATHSIG = 1
#: Connections of clients, and one to Redis for each thread.
_FILES = 16_384
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _hold_signals() -> None:
    """Block signals while the process forks: the interpreter of the child discards those that come in between."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _release_signals() -> None:
    """Deliver the signals that came meanwhile."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _end_on_signals() -> None:
    """Until the server sets its own handlers, let signals end the process at once: it has no requests yet."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _release_signals()


def _end_with_parent() -> None:
    """Ask Linux to end this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _allow_many_files() -> None:
    """Raise the limit of open files to `_FILES`, or as far as the system allows."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _FILES if most == resource.RLIM_INFINITY else min(_FILES, most)
    if allowed != resource.RLIM_INFINITY and allowed < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


if __name__ == "__main__":
    _allow_many_files()
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_end_on_signals)
    if sys.platform == "linux":
        os.register_at_fork(after_in_child=_end_with_parent)
    entrypoint()  # type: ignore[no-untyped-call]
