"""The interface of what limits how many clients wait at a time."""

from __future__ import annotations

from typing import Protocol


class WaiterSlots(Protocol):
    """Slots for waiting clients: a `threading.BoundedSemaphore`, or one that also has a limit for each requester."""

    def acquire(self, *, blocking: bool) -> bool:
        """Take a slot; False when there is none."""

    def release(self) -> None:
        """Free the slot that this thread has taken."""
