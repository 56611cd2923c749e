"""Slots in a process for requests that last: waiting clients, event streams, uploads of bodies.

Users with a role for changes are limited by the number of slots alone. Each other user, and all anonymous clients
together, may take a share of them; and all of these together leave a tenth to users with such a role.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable

from flask import g, has_request_context

from worker.catalog.operations import Role

#: The percentage of slots that is reserved for users with a role for changes.
_RESERVED_PERCENT = 10


def requester_of_request() -> tuple[str, bool]:
    """Return the owner of the current request (empty: an anonymous client), and whether they may do changes."""
    who = g.get("principal") if has_request_context() else None
    return (who.owner, bool(who.roles - {Role.USER})) if who is not None else ("", False)


class Slots:
    """A number of slots, counted by requester."""

    def __init__(self, total: int, share_percent: int) -> None:
        """Prepare the slots.

        Args:
            total: how many there are.
            share_percent: the percentage that one user without a role for changes may take.
        """
        self._total = total
        self._most_of_one = math.ceil(total * share_percent / 100)
        self._most_of_ordinary = math.ceil(total * (100 - _RESERVED_PERCENT) / 100)
        self._lock = threading.Lock()
        self._by_requester: Counter[tuple[str, bool]] = Counter()

    def acquire(self, requester: tuple[str, bool]) -> bool:
        """Take a slot for a requester, if there is one for them; give it back with ``release``."""
        with self._lock:
            if self._is_full_for(requester):
                return False
            self._by_requester[requester] += 1
            return True

    def release(self, requester: tuple[str, bool]) -> None:
        """Give a slot back."""
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
    """Slots for waiting requests, taken and given back by the thread of the request (as a semaphore is)."""

    def __init__(self, slots: Slots, *, on_wait: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Prepare them; ``on_wait`` and ``on_end`` are called before and after a request waits."""
        self._slots = slots
        self._on_wait, self._on_end = on_wait, on_end
        self._held = threading.local()

    def acquire(self, *, blocking: bool) -> bool:
        """Take a slot for the current request, if there is one for its sender."""
        requester = requester_of_request()
        if not self._slots.acquire(requester):
            return False
        held: list[tuple[str, bool]] = self._held.__dict__.setdefault("requesters", [])
        held.append(requester)
        self._on_wait()
        return True

    def release(self) -> None:
        """Give the slot back that this thread took last."""
        self._slots.release(self._held.requesters.pop())
        self._on_end()
