"""How long to go on."""

from __future__ import annotations

import random
import time

#: Seconds for a whole call, where the caller does not say.
DEFAULT_S = 300.0
#: Seconds for which a service that does not answer is tried again, where the caller does not say.
UNREACHABLE_S = 20.0
_LONGEST_DELAY_S = 5.0


class Deadline:
    """The end of a call.

    Attributes:
        timeout_s: seconds from its beginning to its end.
    """

    def __init__(self, timeout_s: float | None) -> None:
        """Let the call end ``timeout_s`` seconds from now; None: the defaults."""
        self.timeout_s = DEFAULT_S if timeout_s is None else max(0.0, timeout_s)
        self._began = time.monotonic()
        self._unreachable_s = UNREACHABLE_S if timeout_s is None else self.timeout_s
        self._lost_since: float | None = None

    @property
    def left_s(self) -> float:
        """Seconds until the end, at least 0."""
        return max(0.0, self._began + self.timeout_s - time.monotonic())

    def allows(self, delay_s: float) -> bool:
        """Is there time for a pause of ``delay_s``, and to ask once more after it?"""
        return delay_s < self.left_s

    def allows_reconnect(self, delay_s: float) -> bool:
        """Is it worth trying again, after ``delay_s``, a service that did not answer?"""
        now = time.monotonic()
        self._lost_since = now if self._lost_since is None else self._lost_since
        return self.allows(delay_s) and now + delay_s - self._lost_since < self._unreachable_s

    def answered(self) -> None:
        """Note that the service answers."""
        self._lost_since = None


def backoff_s(attempt: int) -> float:
    """Return a delay that doubles with each attempt, with some chance in it so that clients do not come at once."""
    return min(_LONGEST_DELAY_S, 0.2 * 2.0 ** min(attempt, 10)) * random.uniform(0.75, 1.0)  # noqa: S311 - no secret
