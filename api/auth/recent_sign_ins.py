"""Sign-ins with a password that succeeded a moment ago, so that a series of requests does not ask Redis each time."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable

from worker.store.sign_in_attempts import Counts

#: How long a sign-in is remembered (seconds). For so long the right password is accepted although the limit of wrong
#: ones was reached meanwhile, if none of them came to this process.
REMEMBERED_S = 0.25
#: When there are more, all are forgotten.
_MOST = 1024


class RecentSignIns:
    """The sign-ins of the last moment in this process. Safe to use from several threads: each step is atomic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: a monotonic clock in seconds."""
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._sign_ins: dict[bytes, tuple[float, Counts]] = {}

    def counts(self, user: str, network: str, password: str) -> Counts | None:
        """Return the counters that Redis had when exactly this succeeded a moment ago; None if it did not."""
        ends_at, counts = self._sign_ins.get(self._digest(user, network, password), (0.0, None))
        return counts if self._clock() < ends_at else None

    def add(self, user: str, network: str, password: str, counts: Counts) -> None:
        """Remember a sign-in; ``counts``: the counters that Redis had before it."""
        if len(self._sign_ins) >= _MOST:
            self._sign_ins.clear()
        self._sign_ins[self._digest(user, network, password)] = (self._clock() + REMEMBERED_S, counts)

    def clear(self) -> None:
        """Forget all: a wrong password came, so that Redis must be asked before the next one is checked."""
        self._sign_ins.clear()

    def _digest(self, *parts: str) -> bytes:
        """Keyed, so that no password stays in memory."""
        return hashlib.blake2b(repr(parts).encode(), key=self._secret).digest()
