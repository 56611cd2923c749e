"""How Python runs a process of many threads: no thread, and no collection of garbage, holds up the others for long."""

from __future__ import annotations

import gc
import sys

#: How long a thread computes on while others want to (seconds). Each answer of Redis that a thread waits for costs it
#: that time again, for every other thread.
_SWITCH_EVERY_S = 0.001


def share_the_interpreter() -> None:
    """Set that up; to be called once everything is there that stays for as long as the process."""
    sys.setswitchinterval(_SWITCH_EVERY_S)
    # Each full collection would look at all of that again, for a tenth of a second.
    gc.collect()
    gc.freeze()
