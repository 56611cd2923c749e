"""Clients that submit, wait, cancel, and repeat unanswered requests with the same Idempotency-Key."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.chaos.requests_made import Request, Wishes
from tests.chaos.stack import PASSWORD, USER

_GIVE_UP_S = 40.0
#: Statuses that clients must expect while parts of the service are down.
_EXPECTED = {200, 201, 202, 204, 304, 404, 409, 422, 429, 500, 502, 503, 504}
#: Codes of refused *requests*; failed *jobs* may have others.
_RETRY = {429, 503}


@dataclass
class Seen:
    """The responses to all clients."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    #: Accepted jobs by id, with their requests.
    accepted: dict[str, Request] = field(default_factory=dict)
    #: Ids of jobs by Idempotency-Key: more than one is an error.
    by_key: dict[str, set[str]] = field(default_factory=dict)
    statuses: Counter[int | str] = field(default_factory=Counter)
    #: Final states of jobs, as clients read them.
    final_states: dict[str, str] = field(default_factory=dict)
    changed_its_mind: set[str] = field(default_factory=set)
    surprises: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


class Client(threading.Thread):
    """One client, submitting until it is stopped."""

    def __init__(self, urls: list[str], wishes: Wishes, seen: Seen, seed: str, stop: threading.Event) -> None:
        super().__init__(name=f"client-{seed}", daemon=True)
        self._urls = urls
        self._wishes = wishes
        self._seen = seen
        self._rng = random.Random(seed)
        self._over = stop
        self._session = requests.Session()
        self._session.auth = (USER, PASSWORD)

    def run(self) -> None:
        while not self._over.is_set():
            key = str(uuid.UUID(int=self._rng.getrandbits(128))) if self._rng.random() < 0.8 else ""
            job_id = self._submit(self._wishes.next(self._rng), key)
            if job_id and self._rng.random() < 0.1:
                self._over.wait(self._rng.uniform(0, 0.4))
                self._ask("POST", f"/v4/jobs/{job_id}/cancel")
            elif job_id and self._rng.random() < 0.5:
                self._look(job_id)

    def _submit(self, request: Request, key: str) -> str:
        """Return the id of the accepted job; empty if there is none, or its id is unknown."""
        headers = {"Prefer": f"wait={self._rng.choice((0, 0, 1, 3))}"}
        if key:
            headers["Idempotency-Key"] = key
        deadline = time.monotonic() + _GIVE_UP_S
        while time.monotonic() < deadline:
            answer = self._ask(request.method, request.path, json=request.body, headers=headers)
            where = answer.headers.get("Operation-Location") if answer is not None else None
            if where:
                return self._note(where.rpartition("/")[2], key, request)
            if answer is not None and answer.status_code not in _RETRY:
                return ""
            if not key:
                return ""
            time.sleep(self._rng.uniform(0.1, 1.0))
        return ""

    def _note(self, job_id: str, key: str, request: Request) -> str:
        with self._seen.lock:
            self._seen.accepted[job_id] = request
            if key:
                self._seen.by_key.setdefault(key, set()).add(job_id)
        return job_id

    def _look(self, job_id: str) -> None:
        answer = self._ask("GET", f"/v4/jobs/{job_id}", headers={"Prefer": "wait=2"})
        if answer is None or answer.status_code != requests.codes.ok:
            return
        job = answer.json()
        if job["done"]:
            with self._seen.lock:
                if self._seen.final_states.setdefault(job_id, job["state"]) != job["state"]:
                    self._seen.changed_its_mind.add(job_id)

    def _ask(self, method: str, path: str, **more: Any) -> requests.Response | None:
        started = time.monotonic()
        try:
            answer = self._session.request(method, self._rng.choice(self._urls) + path, timeout=20, **more)
        except requests.RequestException as error:
            with self._seen.lock:
                self._seen.statuses[type(error).__name__] += 1
            return None
        with self._seen.lock:
            self._seen.statuses[answer.status_code] += 1
            self._seen.slowest_s = max(self._seen.slowest_s, time.monotonic() - started)
            if answer.status_code not in _EXPECTED or _is_crash(answer):
                self._seen.surprises.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer


def _is_crash(answer: requests.Response) -> bool:
    """Is it a 500 that is not the result of a job, and so an error of the service?"""
    return answer.status_code == requests.codes.server_error and "Operation-Location" not in answer.headers
