"""Places in a process for what may last: waiting clients, event streams, bodies that come in. Nobody may take them all.

Somebody whose roles let them do more than read is limited by the number of places alone. Each other user, and all
clients together that have not signed in, may take a share; and all of these together leave some for those who have such
a role.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable

from flask import g, has_request_context

from worker.catalog.operations import Role

#: Of all places, those that are kept for users who may change something.
_KEPT_PERCENT = 10


def requester_of_request() -> tuple[str, bool]:
    """Return whose the request at hand is (empty: a client that has not signed in), and whether they may do changes."""
    who = g.get("principal") if has_request_context() else None
    return (who.owner, bool(who.roles - {Role.USER})) if who is not None else ("", False)


class Slots:
    """A number of places, counted by who holds them."""

    def __init__(self, total: int, share_percent: int) -> None:
        """Prepare the places.

        Args:
            total: how many there are.
            share_percent: how many of them one user without a role for changes may take.
        """
        self._total = total
        self._most_of_one = math.ceil(total * share_percent / 100)
        self._most_of_ordinary = math.ceil(total * (100 - _KEPT_PERCENT) / 100)
        self._lock = threading.Lock()
        self._by_requester: Counter[tuple[str, bool]] = Counter()

    def acquire(self, requester: tuple[str, bool]) -> bool:
        """Take a place for somebody, if there is one for them; give it back with ``release``."""
        with self._lock:
            if self._is_full_for(requester):
                return False
            self._by_requester[requester] += 1
            return True

    def release(self, requester: tuple[str, bool]) -> None:
        """Give it back."""
        with self._lock:
            self._by_requester[requester] -= 1
            if self._by_requester[requester] <= 0:
                del self._by_requester[requester]

    def _is_full_for(self, requester: tuple[str, bool]) -> bool:
        if self._by_requester.total() >= self._total:
            return True
        if requester[1]:
            return False
        ordinary = sum(count for (_, changes), count in self._by_requester.items() if not changes)
        return ordinary >= self._most_of_ordinary or self._by_requester[requester] >= self._most_of_one


class WaiterSlots:
    """Places for waiting requests, taken and given back by the thread of the request (as a semaphore is)."""

    def __init__(self, slots: Slots, *, on_wait: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Prepare them; ``on_wait`` and ``on_end`` are called when a request begins to wait, and when it has waited."""
        self._slots = slots
        self._on_wait, self._on_end = on_wait, on_end
        self._held = threading.local()

    def acquire(self, *, blocking: bool) -> bool:
        """Take a place for the request at hand, if there is one for its sender."""
        requester = requester_of_request()
        if not self._slots.acquire(requester):
            return False
        held: list[tuple[str, bool]] = self._held.__dict__.setdefault("requesters", [])
        held.append(requester)
        self._on_wait()
        return True

    def release(self) -> None:
        """Give the place back that this thread took last."""
        self._slots.release(self._held.requesters.pop())
        self._on_end()
