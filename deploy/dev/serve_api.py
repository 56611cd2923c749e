"""Granian's command line, whose worker processes end with their parent.

A killed parent would leave its workers behind, listening on the same port beside those of the parent that is started in
its place, with code and settings of yesterday.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from granian.cli import entrypoint

_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Ask Linux to end this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    if sys.platform == "linux":
        os.register_at_fork(after_in_child=_end_with_parent)
    entrypoint()  # type: ignore[no-untyped-call]
