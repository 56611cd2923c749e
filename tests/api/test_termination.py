"""What a process does when it is asked to stop."""

from __future__ import annotations

import subprocess
import sys

#: The first signal is lost, as by a server that has just started: nothing ends for it.
_LOSES_THE_FIRST = """
import os, signal, threading
from api.http import termination

termination._AGAIN_AFTER_S = 0.01
signals, again = [], threading.Event()

def handle(number, _frame):
    signals.append(number)
    if len(signals) == 2:
        again.set()

signal.signal(signal.SIGTERM, handle)
termination.on_termination(lambda: print("asked", flush=True))
os.kill(os.getpid(), signal.SIGTERM)
again.wait(20)
print(len(signals), set(signals) == {signal.SIGTERM})
"""


def test_a_server_that_lost_the_first_signal_gets_another():
    command = [sys.executable, "-c", _LOSES_THE_FIRST]
    ended = subprocess.run(command, capture_output=True, check=True, timeout=60, text=True)
    assert ended.stdout.split("\n") == ["asked", "2 True", ""]
