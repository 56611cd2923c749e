"""Settings of the Python interpreter for a process of many threads: thread switches and the garbage collector."""

from __future__ import annotations

import gc
import sys

#: The switch interval (seconds). A thread waits so long for each busy thread whenever it continues after I/O.
_SWITCH_EVERY_S = 0.001


def configure_interpreter() -> None:
    """Apply the settings; call this once the objects that live as long as the process exist."""
    sys.setswitchinterval(_SWITCH_EVERY_S)
    # A full collection would otherwise visit all of these objects again, which takes 0.1 s.
    gc.collect()
    gc.freeze()
