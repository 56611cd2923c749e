"""A client that changes what is its own, one change after another, and tells the model what each led to."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import requests

from tests.e2e.client import Client
from tests.e2e.race import Key, Model, Record
from tests.e2e.race_reader import Reader

#: As many snapshots a volume can have on the filer.
SNAPSHOT_LIMIT = 4
_SNAPSHOTS = [f"s{number}" for number in range(6)]
_HOSTS = ["host1.example.org", "host2.example.org"]
_RULES = ["10.0.0.0/8", "@hosts", "*.example.org", "db1.example.org"]
_WORKED = {requests.codes.ok, requests.codes.created, requests.codes.no_content}
_REFUSED = {"already-exists", "too-many-snapshots", "lock-held", "policy-in-use"}

States = dict[Key, Record | None]


class Writer:
    """Two volumes at a time with their snapshots and locks, and two policies, all its own."""

    def __init__(
        self, name: str, client: Client, reader: Reader, model: Model, dice: random.Random, filer: str
    ) -> None:
        self._name = name
        self._http = client
        self._reader = reader
        self._model = model
        self._dice = dice
        self._filer = filer
        self._now: dict[Key, Record] = {}
        self._volumes: list[str] = []
        self._made = 0
        #: Where each volume is mounted; a path that is free again is taken by another volume.
        self._paths: dict[str, str] = {}
        self._policies = [f"{name}_p{number}" for number in range(2)]
        for policy in self._policies:
            model.introduce(f"{filer}/export", policy)

    def change(self) -> None:
        """Change something, and read it at once."""
        if len(self._volumes) < 2:
            return self._create()
        acts: list[Callable[[str], None]] = [
            self._resize, self._resize, self._resize, self._snapshot, self._snapshot, self._snapshot,
            self._drop_snapshot, self._lock, self._unlock, self._policy, self._rule, self._roll_back, self._use_policy,
        ]  # fmt: skip
        if self._dice.random() < 0.12:
            acts = [self._restrict, self._clone]
        return self._dice.choice(acts)(self._dice.choice(self._volumes))

    # --- volumes

    def _create(self) -> None:
        volume = self._new_volume()
        self._submit("POST", volume, {"size_total": self._bytes(), **self._place(volume)}, self._from_result(volume))
        self._keep_volume(volume)

    def _clone(self, source: str) -> None:
        snapshots = self._snapshots(source)
        if not snapshots or len(self._volumes) > 3:
            return
        volume = self._new_volume()
        body = {"from_volume": source, "from_snapshot": self._dice.choice(snapshots)[1], **self._place(volume)}
        self._submit("POST", volume, body, self._from_result(volume))
        self._keep_volume(volume)

    def _new_volume(self) -> Key:
        self._made += 1
        volume = f"{self._filer}/volumes", f"{self._name}_{self._made}"
        free = {f"{self._name}_m{number}" for number in range(4)} - {self._paths[volume] for volume in self._volumes}
        self._paths[volume[1]] = self._dice.choice(sorted(free))
        for place in (f"volumes/{volume[1]}", f"mounted/{self._paths[volume[1]]}"):
            for kind in ("snapshots", "locks"):
                self._model.introduce(f"{self._filer}/{place}/{kind}")
        return volume

    def _place(self, volume: Key) -> dict[str, str]:
        return {"junction_path": f"/{self._paths[volume[1]]}"}

    def _keep_volume(self, volume: Key) -> None:
        if volume in self._now:
            self._volumes.append(volume[1])

    def _resize(self, volume: str) -> None:
        key = f"{self._filer}/volumes", volume
        self._submit("PATCH", key, {"size_total": self._bytes()}, self._from_result(key))

    def _use_policy(self, volume: str) -> None:
        key = f"{self._filer}/volumes", volume
        there = [policy for policy in self._policies if (f"{self._filer}/export", policy) in self._now]
        policy = self._dice.choice([*there, "default"])
        self._submit("PATCH", key, {"active_policy_name": policy}, self._from_result(key))

    def _restrict(self, volume: str) -> None:
        self._volumes.remove(volume)
        key = f"{self._filer}/volumes", volume
        below = [other for other in self._now if other[0].startswith(f"{key[0]}/{volume}/")]
        self._submit("DELETE", key, None, lambda _: dict.fromkeys([*below, key]))

    def _roll_back(self, volume: str) -> None:
        key, snapshots = (f"{self._filer}/volumes", volume), self._snapshots(volume)
        if snapshots:
            chosen = self._dice.randrange(len(snapshots))
            later = dict.fromkeys(snapshots[chosen + 1 :])
            body = {"from_snapshot": snapshots[chosen][1]}
            self._submit("POST", key, body, lambda answer: {key: self._model.same(answer), **later})

    def _bytes(self) -> int:
        """A size that no other state has."""
        return 4096 * self._dice.randrange(2**18, 2**20) + 2**22 * self._made

    # --- what volumes have

    def _snapshots(self, volume: str) -> list[Key]:
        """Oldest first."""
        keys = [key for key in self._now if key[0] == f"{self._filer}/volumes/{volume}/snapshots"]
        return sorted(keys, key=lambda key: str(self._now[key]["creation_time"]))

    def _snapshot(self, volume: str) -> None:
        key = f"{self._filer}/volumes/{volume}/snapshots", self._dice.choice(_SNAPSHOTS)
        purge = self._dice.random() < 0.5
        snapshots = self._snapshots(volume)
        gone = dict.fromkeys(snapshots[: max(0, len(snapshots) + 1 - SNAPSHOT_LIMIT)])
        body = {"purge_old_if_needed": purge}
        self._submit("POST", key, body, lambda answer: {**gone, key: self._model.same(answer)})

    def _drop_snapshot(self, volume: str) -> None:
        snapshots = self._snapshots(volume)
        if snapshots:
            key = self._dice.choice(snapshots)
            self._submit("DELETE", key, None, lambda _: {key: None})

    def _lock(self, volume: str) -> None:
        key = f"{self._filer}/volumes/{volume}/locks", self._dice.choice(_HOSTS)
        self._submit("PUT", key, None, self._from_result(key))

    def _unlock(self, volume: str) -> None:
        key = f"{self._filer}/volumes/{volume}/locks", self._dice.choice(_HOSTS)
        self._submit("DELETE", key, None, lambda _: {key: None})

    # --- policies

    def _policy(self, _: str) -> None:
        key = f"{self._filer}/export", self._dice.choice(self._policies)
        if key in self._now:
            self._submit("DELETE", key, None, lambda _: {key: None})
        else:
            rules = self._dice.sample(_RULES, self._dice.randint(0, 3))
            self._submit("POST", key, {"rules": rules}, self._from_result(key))

    def _rule(self, _: str) -> None:
        key = f"{self._filer}/export", self._dice.choice(self._policies)
        present = self._now.get(key)
        if present is None:
            return
        rule = self._dice.choice(_RULES)
        if rule in present["rules"]:
            remaining = {**present, "rules": [other for other in present["rules"] if other != rule]}
            self._submit("DELETE", key, None, lambda _: {key: self._model.same(remaining)}, f"/rule/{rule}")
        else:
            self._submit("PUT", key, None, self._from_result(key), f"/rule/{rule}")

    # --- the change itself

    def _submit(
        self, method: str, key: Key, body: Any, effect: Callable[[dict[str, Any]], States], under: str = ""
    ) -> None:
        self._model.introduce(*key)
        self._model.introduce(*self._mirrored(key))
        path = f"/v4/{key[0]}/{key[1]}{under}"
        volume = path.split("/")[4] if "/volumes/" in path else ""
        if (f"{self._filer}/volumes", volume) in self._now and self._dice.random() < 0.2:
            path = path.replace(f"/volumes/{volume}", f"/volumes/node:/{self._paths[volume]}", 1)
        submitted = time.monotonic()
        if self._dice.random() < 0.7:
            answer = self._http.change(method, path, body)
        else:
            answer = self._http.request(method, path, json=body)
        if answer.status_code == requests.codes.accepted:
            answer, ended = self._awaited(answer.json()["id"])
        else:
            ended = time.monotonic()
        self._take(answer, f"{method} {path} {body or ''}", effect, submitted, ended)
        self._reader.read(*self._dice.choice([key, self._mirrored(key)]))

    def _awaited(self, job_id: str) -> tuple[requests.Response, float]:
        self._http.ended(job_id)
        ended = time.monotonic()
        return self._http.get(f"/v4/jobs/{job_id}/result"), ended

    def _take(
        self,
        answer: requests.Response,
        description: str,
        effect: Callable[[dict[str, Any]], States],
        submitted: float,
        ended: float,
    ) -> None:
        self._model.kinds[f"change {answer.status_code}"] += 1
        if answer.status_code not in _WORKED:
            if answer.json()["code"] not in _REFUSED:
                self._model.surprise(f"{description}: {answer.status_code} {answer.text[:300]}")
            return
        states = effect(answer.json() if answer.content else {})
        self._model.changed(states, submitted, ended, description)
        mirrored = {other: state for key, state in states.items() if (other := self._mirrored(key)) != key}
        self._model.changed(mirrored, submitted, ended, description)
        for key, state in states.items():
            self._now.pop(key, None)
            if state is not None:
                self._now[key] = state

    def _from_result(self, key: Key) -> Callable[[dict[str, Any]], States]:
        """The object is what the answer says."""
        return lambda answer: {key: self._model.same(answer)}

    def _mirrored(self, key: Key) -> Key:
        """The same object as it is found by the path where its volume is mounted."""
        filer, kind, *below = key[0].split("/")
        if kind != "volumes":
            return key
        volume, *rest = [*below, key[1]]
        place = [filer, "mounted", self._paths[volume], *rest]
        return "/".join(place[:-1]), place[-1]
