# ruff: noqa: T201 - it prints its results to the terminal
"""Runs with listeners (``--listeners``): they listen from the first job on, and are checked at the end."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.chaos.listeners import AbsentReceiver, OtherClient, listeners, other_session
from tests.chaos.notifications import BAD, await_notifications, changes, judge_hooks, judge_stream
from tests.chaos.stack import Stack

#: When and for how long the receiver is unavailable, and how often the sender is killed (seconds).
_AWAY_AFTER_S, _AWAY_S, _KILL_EVERY_S = 30.0, 60.0, 25.0
#: After a minute of failures the next attempt may be two minutes later, followed by the last minute's webhooks.
_NOTIFIED_WITHIN_S = 240.0


class Listening:
    """All listeners of a run."""

    def __init__(self, stack: Stack) -> None:
        """Prepare the process that sends webhooks; call it before the stack starts."""
        self._stack = stack
        self._receiver = AbsentReceiver()
        self._over = threading.Event()
        stack.send_webhooks(self._receiver.receiver.url)

    def start(self, seed: int) -> None:
        """Begin to listen, and return when all listeners do."""
        urls = [f"http://127.0.0.1:{port}" for port in self._stack.ports]
        session = other_session(urls[0])
        self._streams = listeners(urls, session, seed)
        self._other = OtherClient(urls, session, self._over)
        self._stack.await_webhooks()
        for thread in self._streams:
            thread.start()
        while not all(stream.last_id for stream in self._streams):
            time.sleep(0.1)
        self._other.start()
        threading.Thread(target=self._faults, args=(random.Random(seed),), daemon=True).start()

    def _faults(self, rng: random.Random) -> None:
        away_at = time.monotonic() + _AWAY_AFTER_S
        while not self._over.wait(_KILL_EVERY_S * rng.uniform(0.5, 1)):
            self._stack.kill_webhooks(rng.uniform(0, 3))
            if time.monotonic() > away_at:
                away_at = float("inf")
                self._receiver.be_away(_AWAY_S)

    def stop_asking(self) -> None:
        """Stop jobs and faults."""
        self._over.set()

    def judge(self, all_jobs: Callable[[], list[dict[str, Any]]]) -> dict[str, list[str]]:
        """Return what is wrong with the notifications of all jobs, by kind of fault; prints the figures."""
        ended, took_s = await_notifications(
            lambda: changes(all_jobs()),
            self._streams,
            lambda: list(self._receiver.receiver.hooks),
            _NOTIFIED_WITHIN_S,
        )
        for stream in self._streams:
            stream.over.set()
        hooks = list(self._receiver.receiver.hooks)
        faults = [judge_hooks(ended, hooks), *(judge_stream(ended, stream) for stream in self._streams)]
        for stream in self._streams:
            print(f"  {stream.name_:>9}  {len(stream.ids):>7}  events of {len(stream.states)} jobs,"
                  f" {stream.connections} connections")  # fmt: skip
        print(f"   webhooks  {len(hooks):>7}  of {len({hook.id for hook in hooks})} ends,"
              f" {self._receiver.receiver.attempts} attempts")  # fmt: skip
        print(f"   notified            {len(ended)} changes, all of them {took_s:.0f} s after the last fault;"
              f" the receiver was away {self._receiver.times_away} times")  # fmt: skip
        return {name: [line for bad in faults for line in bad[name]] for name in BAD}
