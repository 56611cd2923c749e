"""Checks the outcome of every job by the storage system's own records, not by what the service reports."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urljoin

import redis
import requests

from tests.chaos.client import Seen
from tests.chaos.stack import PASSWORD, SUBSYSTEM, USER, Stack

READS = {"list_volumes", "get_volume", "list_snapshots", "get_snapshot", "list_locks", "list_policies", "get_policy"}


#: A process of this stack needs some dozens at most, whatever happened to Redis.
MOST_SOCKETS = 150

#: What must not happen.
BAD = {
    "lost": "accepted, and not known any more",
    "torn": "a batch without all of its members, or members without their batch",
    "doubled": "sent to the filer twice, or two jobs for one key",
    "wrong": "succeeded without effect, or failed or cancelled with one",
    "stuck": "not ended when none had for 90 s",
    "changed": "said another end later",
    "disorder": "changed a volume before a change that was accepted earlier",
    "stale": "in the cached listing otherwise than on the filer",
    "leaked": f"processes with more than {MOST_SOCKETS} open sockets",
    "errors": "answers that no client should get",
}


@dataclass
class Verdict:
    """The number of jobs, and those that violate a guarantee (by id, with the reason)."""

    accepted: int = 0
    ended: int = 0
    batches: int = 0
    states: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    bad: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in BAD})
    fenced: int = 0

    @property
    def kept(self) -> bool:
        """Were all guarantees kept?"""
        return not any(self.bad.values())


class Judge:
    """Checks the service from outside, when all faults are over."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._session = requests.Session()
        self._session.auth = (USER, PASSWORD)

    def await_end(self, limit_s: float) -> str:
        """Return once no job is open, or none has ended for ``limit_s``; how long that took, and how many were open."""
        started = last = time.monotonic()
        at_first = open_count = self.open_jobs()
        ended = self._ended()
        while time.monotonic() - last < limit_s and open_count:
            time.sleep(0.3)
            open_count, before = self.open_jobs(), ended
            ended = self._ended()
            last = time.monotonic() if ended != before else last
        return (
            f"{at_first} open jobs took {time.monotonic() - started:.1f} s after the last fault, {open_count} were left"
        )

    def open_jobs(self) -> int:
        """How many jobs and batches are not finished; at least one while Redis does not answer."""
        return self._count(f"due:{SUBSYSTEM}", "batches_preparing", "batches_stopping")

    def _ended(self) -> int:
        return self._count("expiring")

    def _count(self, *keys: str) -> int:
        try:
            with redis.Redis.from_url(self._stack.redis.url, socket_timeout=5) as client:
                return sum(client.zcard(f"sapi:{key}") for key in keys)
        except redis.RedisError:
            return 1

    def judge(self, seen: Seen) -> Verdict:
        """Compare what clients were answered, what the service reports now, and what the filer has."""
        verdict = Verdict()
        jobs = {job["id"]: job for job in self.all_jobs()}
        effects = self._updates()
        verdict.accepted = len(jobs.keys() | seen.accepted.keys())
        verdict.ended = sum(job["done"] for job in jobs.values())
        verdict.states = Counter(job["state"] for job in jobs.values())
        verdict.codes = Counter(job["error"]["code"] for job in jobs.values() if job["error"])
        bad = verdict.bad
        bad["lost"] = [f"{job_id} {request}" for job_id, request in seen.accepted.items() if job_id not in jobs]
        verdict.batches = sum(job["operation"] == "batch" for job in jobs.values())
        bad["torn"] = _torn(jobs) + self._left_over()
        bad["stuck"] = [_line(job) for job in jobs.values() if not job["done"]]
        bad["doubled"] = [f"{key}: {ids}" for key, ids in seen.by_key.items() if len(ids) > 1] + self._sent_twice()
        bad["wrong"] = [_line(job) for job in jobs.values() if _is_wrong(job, effects.get(job["id"]))]
        bad["changed"] = [
            _line(jobs[job_id])
            for job_id, state in seen.final_states.items()
            if job_id in jobs and jobs[job_id]["state"] != state
        ] + sorted(seen.changed_its_mind)
        bad["disorder"] = self._disorder(jobs, effects)
        bad["stale"] = self._stale()
        bad["leaked"] = [
            f"{part.name}: {part.sockets()}" for part in self._stack.parts[1:] if part.sockets() > MOST_SOCKETS
        ]
        bad["errors"] = seen.surprises
        verdict.fenced = sum(line.endswith("fenced") for line in self._book())
        return verdict

    def all_jobs(self, query: str = "") -> list[dict[str, Any]]:
        """Return the jobs of all users, as the service shows them."""
        jobs: list[dict[str, Any]] = []
        url: str | None = f"http://127.0.0.1:{self._stack.ports[0]}/v4/jobs?limit=500{query}"
        while url:
            answer = self._session.get(url, timeout=60)
            answer.raise_for_status()
            jobs += answer.json()
            more = answer.links.get("next")
            url = urljoin(url, more["url"]) if more else None
        return jobs

    def _left_over(self) -> list[str]:
        """Return members of batches that were never accepted: they are invisible, but must not remain in Redis."""
        with redis.Redis.from_url(self._stack.redis.url) as client:
            batches = [key.decode().removeprefix("sapi:members:") for key in client.scan_iter("sapi:members:*", 1000)]
            return [
                f"members of {batch_id}, which was not accepted"
                for batch_id in batches
                if not client.exists(f"sapi:job:{batch_id}")
            ]

    def _updates(self) -> dict[str, tuple[bool, float]]:
        with sqlite3.connect(self._stack.database) as db:
            rows = db.execute("SELECT job_id, applied, at FROM effects")
            return {job_id: (bool(applied), at) for job_id, applied, at in rows}

    def _book(self) -> list[str]:
        return self._stack.book.read_text(encoding="ascii").splitlines()

    def _sent_twice(self) -> list[str]:
        return [f"{line} (sent again after it was made)" for line in self._book() if line.endswith("again")]

    def _disorder(self, jobs: dict[str, Any], effects: dict[str, tuple[bool, float]]) -> list[str]:
        """Return changes of one volume that were not made in the order of acceptance."""
        lines: dict[str, list[tuple[int, float, str]]] = defaultdict(list)
        with redis.Redis.from_url(self._stack.redis.url) as client:
            for job_id, (applied, at) in effects.items():
                if applied and job_id in jobs:
                    seq, arguments = client.hmget(f"sapi:job:{job_id}", "seq", "arguments")
                    job_arguments = json.loads(arguments or b"{}")
                    if "volume" in job_arguments:
                        lines[job_arguments["volume"]].append((int(seq or 0), at, job_id))
        return [
            f"{volume}: {earlier} after {later}"
            for volume, line in lines.items()
            for earlier, later in pairwise(sorted(line))
            if earlier[1] > later[1]
        ]

    def _stale(self) -> list[str]:
        """Return differences between the service's listings and the filer."""
        base = f"http://127.0.0.1:{self._stack.ports[1]}/v4/{SUBSYSTEM}"
        listed = self._session.get(f"{base}/volumes", timeout=60, headers={"Prefer": "wait=25"})
        if listed.status_code != requests.codes.ok:
            return [f"no listing: {listed.status_code} {listed.text[:200]}"]
        by_name = {v["name"]: v for v in listed.json()}
        with sqlite3.connect(self._stack.database) as db:
            there = {name: json.loads(text) for name, text in db.execute("SELECT name, record FROM volumes WHERE live")}
        return [
            f"{name}: shown {by_name.get(name)}, there {there.get(name)}"
            for name in by_name.keys() | there.keys()
            if {k: v for k, v in (by_name.get(name) or {}).items() if v is not None} != (there.get(name) or {})
        ]


def _torn(jobs: dict[str, Any]) -> list[str]:
    """Return batches whose counters do not match their members."""
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for job in jobs.values():
        if job["batch"]:
            members[job["batch"]][job["state"]] += 1
    orphans = [f"members of {batch_id}, which is not there" for batch_id in members if batch_id not in jobs]
    return orphans + [
        f"{_line(job)}: {job['children']}, there {members[job['id']]}"
        for job in jobs.values()
        if (
            job["operation"] == "batch"
            and any(
                members[job["id"]][state] != job["children"][state] for state in ("succeeded", "failed", "cancelled")
            )
        )
        or (job["operation"] == "batch" and members[job["id"]].total() != job["children"]["total"])
    ]


def _is_wrong(job: dict[str, Any], effect: tuple[bool, float] | None) -> bool:
    if job["operation"] in READS or job["operation"] == "batch":
        return False
    made = effect is not None and effect[0]
    if job["state"] == "succeeded":
        return not made
    unknown = job["state"] == "failed" and job["error"]["code"] == "outcome-unknown"
    return made and job["done"] and not unknown


def _line(job: dict[str, Any]) -> str:
    return f"{job['id']} {job['operation']} {job['state']} {(job['error'] or {}).get('code', '')}"
