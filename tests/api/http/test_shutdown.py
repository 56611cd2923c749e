"""What a process does when it is told to stop."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.api.front_end import FrontEnd, accepted
from worker.jobs.notifications import Subscription

if TYPE_CHECKING:
    from redis import Redis

#: The first signal is lost, as by a server that has just started: nothing ends for it.
_LOSES_THE_FIRST = """
import os, signal, sys, threading
from api.http import shutdown

shutdown._AGAIN_AFTER_S = 0.01
signals, again = [], threading.Event()

def handle(number, _frame):
    signals.append(number)
    if len(signals) == 2:
        again.set()

first = signal.Signals[sys.argv[1]]
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, handle)
shutdown.on_termination(lambda: print("asked", flush=True))
os.kill(os.getpid(), first)
again.wait(20)
print(signals == [first, signal.SIGTERM])
"""


@pytest.mark.parametrize("first", ["SIGTERM", "SIGINT"])
def test_a_lost_first_signal_is_sent_again(first: str):
    command = [sys.executable, "-c", _LOSES_THE_FIRST, first]
    ended = subprocess.run(command, capture_output=True, check=True, timeout=60, text=True)
    assert ended.stdout.split("\n") == ["asked", "True", ""]


def test_a_request_that_waits_for_a_job_is_answered_at_once(redis_url: str, redis_client: Redis, monkeypatch):
    front_end, waits = FrontEnd(redis_url), []

    def stop(self: Subscription, _seconds: float) -> bool:
        self._notified.clear()
        front_end.services.stop()
        waits.append(self._notified.is_set())
        return True

    monkeypatch.setattr(Subscription, "wait", stop)
    client = front_end.client()
    job = accepted(client.post("/v4/filer/volumes/db01", json={}))
    answer = client.get(job, headers={"Prefer": "wait=1"})
    assert (answer.status_code, '"state":"queued"' in answer.text) == (200, True)
    # It was woken, and did not wait once more.
    assert waits == [True]
