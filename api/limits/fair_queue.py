"""A semaphore with a fair queue: permits go to the waiting senders in round robin."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

#: Who has waited longer for a permit begins without a cool-down: any number of clients is served in time.
_COOLDOWN_WITHIN_S = 5.0


class _Waiter:
    """A waiting thread."""

    __slots__ = ("cooldown_s", "event", "granted")

    def __init__(self) -> None:
        self.event = threading.Event()
        self.granted = False
        self.cooldown_s = 0.0


class FairQueue:
    """Grants permits. Those who had one before, and wait for another, come first."""

    def __init__(
        self, permits: int, sleep: Callable[[float], None] = time.sleep, cooldown_within_s: float = _COOLDOWN_WITHIN_S
    ) -> None:
        """Prepare ``permits`` of them; ``sleep`` sleeps for some seconds, ``cooldown_within_s``: see above."""
        self._sleep = sleep
        self._cooldown_within_s = cooldown_within_s
        self._lock = threading.Lock()
        self._free = permits
        self._again: deque[_Waiter] = deque()
        #: By sender, the next one first; a sender without a waiter is not in it.
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return len(self._again) + sum(map(len, self._waiting.values()))

    def acquire(self, sender: str, timeout_s: float, *, again: bool = False) -> bool:
        """Wait for a permit; False when there is none in time, or after ``dismiss``.

        Args:
            sender: who waits; waiters of the same sender are served one after the other.
            timeout_s: how long to wait (seconds).
            again: the request had a permit before.
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
        if waiter.cooldown_s and time.monotonic() - began_s < self._cooldown_within_s:
            self._sleep(waiter.cooldown_s)
        return waiter.granted

    def release(self, cooldown_s: float = 0.0) -> None:
        """Grant a permit to the next waiter, who begins ``cooldown_s`` seconds later."""
        with self._lock:
            waiter = self._next()
            if waiter is None:
                self._free += 1
                return
            waiter.granted, waiter.cooldown_s = True, cooldown_s
            waiter.event.set()

    def dismiss(self) -> None:
        """Let all present waiters continue without a permit."""
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
