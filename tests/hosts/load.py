"""Clients that submit one change after the other, and note what they were answered."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType
from typing import Self

from tests.e2e.client import Client
from tests.hosts.deployment import SUBSYSTEM

_PAUSE_S = 0.15


class Load:
    """Some clients at a time, inside the block."""

    def __init__(self, client: Client, clients: int = 2) -> None:
        self._client = client
        self.clients = clients
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._submit, args=(n,), daemon=True) for n in range(clients)]
        self._lock = threading.Lock()
        self.accepted: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.surprises: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def count(self, status: int) -> int:
        """How many answers had this status so far."""
        with self._lock:
            return self.statuses[status]

    def _submit(self, number: int) -> None:
        client = Client(self._client.url)
        client.auth = self._client.auth
        sent = 0
        while not self._over.wait(_PAUSE_S):
            sent += 1
            answer = client.post(f"/v4/{SUBSYSTEM}/volumes/load{number}x{sent}", json={})
            with self._lock:
                self.statuses[answer.status_code] += 1
                if answer.status_code == 202:
                    self.accepted.append(answer.json()["id"])
                elif answer.status_code != 503 or "Retry-After" not in answer.headers:
                    self.surprises.append(f"{answer.status_code} {answer.text}")
