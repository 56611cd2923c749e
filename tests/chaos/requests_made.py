"""The requests of clients: every operation, by name and by path, on volumes that others change as well."""

from __future__ import annotations

import itertools
import random
import threading
from dataclasses import dataclass
from typing import Any

from tests.chaos.stack import SUBSYSTEM

_GB = 1 << 30


@dataclass(frozen=True)
class Request:
    """One request."""

    method: str
    path: str
    body: dict[str, Any] | None = None


class Wishes:
    """Draws random requests, mostly for existing objects, some for others."""

    def __init__(self, volumes: list[str], *, by_path: float = 0.25) -> None:
        """``by_path``: how many of the volumes are named by path; later changes wait until it is resolved."""
        self._volumes = list(volumes)
        self._by_path = by_path
        self._snapshots: list[tuple[str, str]] = []
        self._policies = ["default"]
        self._made = itertools.count()
        self._lock = threading.Lock()

    def next(self, rng: random.Random) -> Request:
        """Draw a request."""
        kinds = {
            self._create: 5, self._update: 8, self._restrict: 1, self._snapshot: 8, self._unsnapshot: 4,
            self._clone: 3, self._roll_back: 2, self._policy: 2, self._rule: 3, self._unpolicy: 1, self._lock_it: 2,
            self._list: 2, self._get: 2, self._batch: 2,
        }  # fmt: skip
        with self._lock:
            kind = rng.choices(list(kinds), list(kinds.values()))[0]
            return kind(rng)

    def batch(self, rng: random.Random, size: int) -> Request:
        """Draw a batch of so many members."""
        with self._lock:
            return self._batch(rng, size)

    def _batch(self, rng: random.Random, size: int = 0) -> Request:
        kinds = (self._create, self._update, self._snapshot, self._snapshot, self._unsnapshot, self._rule)
        drawn = [rng.choice(kinds)(rng) for _ in range(size or rng.randint(2, 80))]
        members = [{"method": request.method, "path": request.path, "body": request.body or {}} for request in drawn]
        order = {"on_failure": rng.choice(("continue", "continue", "stop")), "parallel": rng.randint(1, 12)}
        return Request("POST", "/v4/batches", {**order, "requests": members})

    def _number(self) -> int:
        return next(self._made)

    def _name(self, rng: random.Random) -> str:
        # A few volumes get most of the changes, so that jobs wait for each other.
        return rng.choice(self._volumes[:6] if rng.random() < 0.5 else self._volumes)

    def _reference(self, rng: random.Random) -> str:
        name = self._name(rng)
        return f"node{rng.randint(1, 2)}:/{name}" if rng.random() < self._by_path else name

    def _create(self, rng: random.Random) -> Request:
        name = f"made{self._number()}"
        self._volumes.append(name)
        return Request("POST", _volume(name), {"size_total": rng.randint(1, 50) * _GB})

    def _update(self, rng: random.Random) -> Request:
        return Request("PATCH", _volume(self._reference(rng)), {"percentage_snapshot_reserve": rng.randint(0, 90)})

    def _restrict(self, rng: random.Random) -> Request:
        made = [name for name in self._volumes if name.startswith("made")]
        return Request("DELETE", _volume(rng.choice(made or ["nothing"])))

    def _snapshot(self, rng: random.Random) -> Request:
        volume, name = self._reference(rng), f"snap{self._number()}"
        self._snapshots.append((volume, name))
        return Request("POST", f"{_volume(volume)}/snapshots/{name}", {"purge_old_if_needed": rng.random() < 0.1})

    def _unsnapshot(self, rng: random.Random) -> Request:
        volume, name = rng.choice(self._snapshots or [("nothing", "nothing")])
        return Request("DELETE", f"{_volume(volume)}/snapshots/{name}")

    def _clone(self, rng: random.Random) -> Request:
        volume, snapshot = rng.choice(self._snapshots or [("nothing", "nothing")])
        name = f"made{self._number()}"
        self._volumes.append(name)
        return Request("POST", _volume(name), {"from_volume": volume, "from_snapshot": snapshot})

    def _roll_back(self, rng: random.Random) -> Request:
        volume, snapshot = rng.choice(self._snapshots[-20:] or [("nothing", "nothing")])
        return Request("POST", _volume(volume), {"from_snapshot": snapshot})

    def _policy(self, rng: random.Random) -> Request:
        name = f"policy{self._number()}"
        self._policies.append(name)
        return Request("POST", f"/v4/{SUBSYSTEM}/export/{name}", {"rules": ["10.0.0.0/8"]})

    def _rule(self, rng: random.Random) -> Request:
        method = rng.choice(("PUT", "PUT", "DELETE"))
        policy = rng.choice(self._policies[-5:])
        return Request(method, f"/v4/{SUBSYSTEM}/export/{policy}/rule/host{rng.randint(0, 9)}.example")

    def _unpolicy(self, rng: random.Random) -> Request:
        return Request("DELETE", f"/v4/{SUBSYSTEM}/export/{rng.choice(self._policies)}")

    def _lock_it(self, rng: random.Random) -> Request:
        method = rng.choice(("PUT", "DELETE"))
        return Request(method, f"{_volume(self._reference(rng))}/locks/host{rng.randint(0, 3)}")

    def _list(self, rng: random.Random) -> Request:
        return Request("GET", f"/v4/{SUBSYSTEM}/volumes?limit=5")

    def _get(self, rng: random.Random) -> Request:
        return Request("GET", _volume(self._reference(rng)))


def _volume(name: str) -> str:
    return f"/v4/{SUBSYSTEM}/volumes/{name}"
