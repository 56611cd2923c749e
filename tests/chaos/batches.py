"""Clients that submit batches of one size, and kill processes while these accept them."""

from __future__ import annotations

import itertools
import signal
import threading
import uuid
from collections.abc import Iterator

from tests.chaos.client import Client, Seen
from tests.chaos.requests_made import Wishes
from tests.chaos.stack import Stack

#: The usual time to accept a batch (seconds).
_ACCEPTED_WITHIN_S = 0.6
#: The share of attempts during which a process is killed.
_KILLED = 0.3


class BatchClient(Client):
    """One client that submits batches until there are enough, each under a key of its own until it is accepted."""

    def __init__(
        self,
        stack: Stack,
        wishes: Wishes,
        seen: Seen,
        seed: str,
        stop: threading.Event,
        batches: Iterator[int],
        size: int,
    ) -> None:
        super().__init__([f"http://127.0.0.1:{port}" for port in stack.ports], wishes, seen, seed, stop)
        self._stack = stack
        self._batches = batches
        self._size = size

    def run(self) -> None:
        for _ in self._batches:
            request, key = self._wishes.batch(self._rng, self._size), str(uuid.UUID(int=self._rng.getrandbits(128)))
            job_id = ""
            while not job_id and not self._over.is_set():
                if self._rng.random() < _KILLED:
                    self._kill_one_soon()
                job_id = self._submit(request, key)

    def _kill_one_soon(self) -> None:
        """Kill a process that may be accepting the batch."""
        part = self._rng.choice([*self._stack.apis, self._stack.store])
        timer = threading.Timer(self._rng.uniform(0, _ACCEPTED_WITHIN_S), part.signal, (signal.SIGKILL,))
        timer.daemon = True
        timer.start()


def batch_clients(
    stack: Stack, wishes: Wishes, seen: Seen, seed: int, stop: threading.Event, *, clients: int, batches: int, size: int
) -> list[BatchClient]:
    """Return clients that submit so many batches of so many members together."""
    remaining = _Shared(itertools.repeat(1, batches))
    return [BatchClient(stack, wishes, seen, f"{seed}-{n}", stop, remaining, size) for n in range(clients)]


class _Shared:
    """A thread-safe iterator."""

    def __init__(self, iterator: Iterator[int]) -> None:
        self._iterator = iterator
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._iterator)
