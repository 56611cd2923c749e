"""A number of turns, handed to those who wait for one: each sender in its turn, and nobody twice before another."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

#: Who has waited longer for a turn begins without a rest: a crowd is served in time, however large it is.
_RESTS_WITHIN_S = 5.0


class _Waiter:
    """A thread that waits."""

    __slots__ = ("event", "granted", "rest_s")

    def __init__(self) -> None:
        self.event = threading.Event()
        self.granted = False
        self.rest_s = 0.0


class TurnQueue:
    """Hands out turns. Those who had one before, and wait for another, come first."""

    def __init__(
        self, turns: int, sleep: Callable[[float], None] = time.sleep, rests_within_s: float = _RESTS_WITHIN_S
    ) -> None:
        """Prepare ``turns`` of them; ``sleep`` waits for some seconds, ``rests_within_s``: see above."""
        self._sleep = sleep
        self._rests_within_s = rests_within_s
        self._lock = threading.Lock()
        self._free = turns
        self._again: deque[_Waiter] = deque()
        #: By sender, whose turn comes next first; nobody without a waiter is in it.
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return len(self._again) + sum(map(len, self._waiting.values()))

    def acquire(self, sender: str, timeout_s: float, *, again: bool = False) -> bool:
        """Take a turn, as soon as it is the sender's; False when that takes too long, or after ``dismiss``.

        Args:
            sender: who waits; those with the same name wait for each other.
            timeout_s: how long it may take (seconds).
            again: the request had a turn before.
        """
        began_s = time.monotonic()
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            waiter = _Waiter()
            waiters = self._again if again else self._waiting.setdefault(sender, deque())
            waiters.append(waiter)
        waiter.event.wait(timeout_s)
        with self._lock:
            if not waiter.event.is_set():
                waiters.remove(waiter)
                if not (again or waiters):
                    del self._waiting[sender]
        if waiter.granted and waiter.rest_s and time.monotonic() - began_s < self._rests_within_s:
            self._sleep(waiter.rest_s)
        return waiter.granted

    def release(self, rest_s: float = 0.0) -> None:
        """Hand a turn on; who waits for it begins so much later (seconds)."""
        with self._lock:
            waiter = self._next()
            if waiter is None:
                self._free += 1
                return
            waiter.granted, waiter.rest_s = True, rest_s
            waiter.event.set()

    def dismiss(self) -> None:
        """Let everybody go who waits now, without a turn."""
        with self._lock:
            while (waiter := self._next()) is not None:
                waiter.event.set()

    def _next(self) -> _Waiter | None:
        if self._again:
            return self._again.popleft()
        if not self._waiting:
            return None
        sender, waiters = self._waiting.popitem(last=False)
        waiter = waiters.popleft()
        if waiters:
            self._waiting[sender] = waiters
        return waiter
