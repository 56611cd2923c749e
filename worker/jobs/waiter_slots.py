"""What limits how many clients wait at a time, as those who wait see it."""

from __future__ import annotations

from typing import Protocol


class WaiterSlots(Protocol):
    """Places for those who wait: a `threading.BoundedSemaphore`, or something that also looks at whose they are."""

    def acquire(self, *, blocking: bool) -> bool:
        """Take a place; False when there is none."""

    def release(self) -> None:
        """Give back the place that this thread has taken."""
