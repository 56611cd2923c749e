"""The large bodies that are being sent: how much memory they take, in total and of one sender.

Clients that read slowly would otherwise fill the memory of the process. A body that is sent to many clients of one
sender, as a listing that all anonymous clients read, counts once.
"""

from __future__ import annotations

import math
import threading
from collections import Counter

#: How many may be sent at a time, each of which takes a thread of the server, which has 2,000 for all that lasts.
MOST = 200


class BodiesInFlight:
    """The bodies that one process sends to users without a role for changes."""

    def __init__(self, total_bytes: int, share_percent: int) -> None:
        """Prepare.

        Args:
            total_bytes: how many bytes all of them may have.
            share_percent: the percentage for one sender, and for all anonymous clients together.
        """
        self._total = total_bytes
        self._most_bytes_of_one = math.ceil(total_bytes * share_percent / 100)
        self._most_of_one = math.ceil(MOST * share_percent / 100)
        # The end of a body may be seen by the garbage collector, in a thread that holds the lock.
        self._lock = threading.RLock()
        #: How often each body is sent, by sender, identity and length.
        self._sent: Counter[tuple[str, int, int]] = Counter()

    def hold(self, sender: str, body: bytes) -> bool:
        """Count a body that is about to be sent; False if it does not fit. One always does."""
        key = (sender, id(body), len(body))
        with self._lock:
            if self._is_full_for(sender) or not (key in self._sent or self._fits(sender, len(body))):
                return False
            self._sent[key] += 1
            return True

    def release(self, sender: str, body: bytes) -> None:
        """Count no longer a body that was sent, or whose client has left."""
        key = (sender, id(body), len(body))
        with self._lock:
            self._sent[key] -= 1
            if self._sent[key] <= 0:
                del self._sent[key]

    def _is_full_for(self, sender: str) -> bool:
        of_sender = sum(count for (whose, _, _), count in list(self._sent.items()) if whose == sender)
        return self._sent.total() >= MOST or of_sender >= self._most_of_one

    def _fits(self, sender: str, length: int) -> bool:
        if not self._sent:
            return True
        in_total = sum(size for _, _, size in list(self._sent))
        of_sender = sum(size for whose, _, size in list(self._sent) if whose == sender)
        return in_total + length <= self._total and (not of_sender or of_sender + length <= self._most_bytes_of_one)
