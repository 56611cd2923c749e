"""Time limits of calls, and delays between retries."""

from __future__ import annotations

import random
import time

#: The default time limit of a call (seconds).
DEFAULT_S = 300.0
#: The default time for which an unreachable service is retried (seconds).
UNREACHABLE_S = 20.0
_LONGEST_DELAY_S = 5.0


class Deadline:
    """The time limit of one call.

    Attributes:
        timeout_s: the limit (seconds).
    """

    def __init__(self, timeout_s: float | None) -> None:
        """Begin a call with a limit of ``timeout_s`` seconds; None: the defaults."""
        self.timeout_s = DEFAULT_S if timeout_s is None else max(0.0, timeout_s)
        self._began = time.monotonic()
        self._unreachable_s = UNREACHABLE_S if timeout_s is None else self.timeout_s
        self._lost_since: float | None = None

    @property
    def left_s(self) -> float:
        """The remaining time (seconds), at least 0."""
        return max(0.0, self._began + self.timeout_s - time.monotonic())

    def allows(self, delay_s: float) -> bool:
        """Is there time for another attempt after ``delay_s``?"""
        return delay_s < self.left_s

    def allows_reconnect(self, delay_s: float) -> bool:
        """May an unreachable service be retried after ``delay_s``?"""
        now = time.monotonic()
        self._lost_since = now if self._lost_since is None else self._lost_since
        return self.allows(delay_s) and now + delay_s - self._lost_since < self._unreachable_s

    def answered(self) -> None:
        """Note that the service has responded."""
        self._lost_since = None


def backoff_s(attempt: int) -> float:
    """Return a delay that doubles with each attempt, with jitter."""
    return min(_LONGEST_DELAY_S, 0.2 * 2.0 ** min(attempt, 10)) * random.uniform(0.75, 1.0)  # noqa: S311 - no secret
