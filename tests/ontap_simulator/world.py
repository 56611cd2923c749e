"""What the simulated cluster holds, the jobs that change it, and the log of every change that took effect."""

from __future__ import annotations

import threading
import time
import uuid as uuids
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.ontap_simulator.errors import Refusal

Record = dict[str, Any]
MIB = 1024 * 1024
TIB = MIB * MIB


def new_uuid() -> str:
    return str(uuids.uuid4())


def now_text(*, after: str = "") -> str:
    """The time to the second; at least a second ``after`` that one."""
    now = datetime.now(UTC)
    return max(now, datetime.fromisoformat(after) + timedelta(seconds=1) if after else now).isoformat(
        timespec="seconds"
    )


@dataclass(frozen=True)
class Effect:
    """One change that took effect, by which tests check the outcome."""

    method: str
    path: str
    what: Record


@dataclass
class Job:
    """One of ONTAP's jobs: it has its effect at ``due``, and is forgotten a while after its end."""

    uuid: str
    description: str
    svm: str
    due: float
    apply: Callable[[], None]
    state: str = "running"
    message: str = ""
    code: int = 0
    started: str = field(default_factory=now_text)
    ended: str = ""
    ended_at: float = 0.0
    #: What a fault does to it: it fails in the end, or is forgotten as soon as it ends.
    failure: Refusal | None = None
    vanishes: bool = False
    cancellable: bool = False

    def record(self) -> Record:
        record: Record = {
            "uuid": self.uuid,
            "description": self.description,
            "state": self.state,
            "message": self.message,
            "code": self.code,
            "start_time": self.started,
            "svm": {"name": self.svm, "uuid": "svm-" + self.svm},
            "_links": {"self": {"href": f"/api/cluster/jobs/{self.uuid}"}},
        }
        if self.ended:
            record["end_time"] = self.ended
        if self.state == "failure":
            record["error"] = {"code": str(self.code), "message": self.message}
        return record


class World:
    """One cluster with two vservers. Every access is under ``lock``, after ``tick``."""

    def __init__(self, vserver: str = "vs1") -> None:
        self.lock = threading.RLock()
        self.vserver = vserver
        #: The vservers and their states.
        self.vservers = {vserver: "running", "vs2": "running"}
        self.version = (9, 19, 1)
        self.aggregates = {
            "aggr0_n1": {"free": 90 * TIB, "node": "node1"},
            "aggr1_n1": {"free": 2 * TIB, "node": "node1"},
            "aggr2_n2": {"free": 5 * TIB, "node": "node2"},
        }
        self.volumes: dict[str, Record] = {}
        self.snapshots: dict[str, dict[str, Record]] = {}
        self.policies: dict[int, Record] = {}
        self.locks: dict[str, Record] = {}
        self.jobs: dict[str, Job] = {}
        self.effects: list[Effect] = []
        #: How long a job takes, and how long it is remembered afterwards, in seconds.
        self.job_seconds = 0.0
        self.job_keep_seconds = 300.0
        self.snapshot_limit = 1023
        #: Does the last page of a listing have a ``next`` that leads to an empty one?
        self.empty_last_page = False
        #: Fields that this release does not know yet.
        self.unknown_fields: frozenset[str] = frozenset()
        #: Does it name all requested fields, where it refuses one?
        self.is_vague_about_fields = False
        #: For how long a new object does not show, in seconds.
        self.hidden_seconds = 0.0
        self._shows_at: dict[str, float] = {}
        #: Which requests this release knows that name an export rule by its client: "query", "client".
        self.rule_requests = frozenset({"query", "client"})
        #: Are changes made before they are answered: "", "unnamed", "named" (the answer names the job)?
        self.synchronous = ""
        #: Is a job queued and paused before it runs?
        self.is_slow_to_start = False
        self._next_policy = 1
        for name in self.vservers:
            self.add_policy(name, "default", [["0.0.0.0/0"]])

    # --- jobs

    def tick(self) -> None:
        """Let every job that is due take effect, and forget those that ended long ago."""
        now = time.monotonic()
        for job in sorted(self.jobs.values(), key=lambda one: one.due):
            if not job.ended and job.due <= now:
                self._finish(job, now)
            elif not job.ended and self.is_slow_to_start:
                job.state = "queued" if job.due - now > self.job_seconds / 2 else "paused"
        for job in list(self.jobs.values()):
            if job.ended and (job.vanishes or now - job.ended_at > self.job_keep_seconds):
                del self.jobs[job.uuid]

    def _finish(self, job: Job, now: float) -> None:
        try:
            if job.failure:
                raise job.failure
            job.apply()
        except Refusal as refusal:
            job.state, job.code, job.message = "failure", refusal.code, refusal.message
        else:
            job.state, job.message = "success", "success"
        job.ended, job.ended_at = now_text(), now

    def start(self, description: str, svm: str, apply: Callable[[], None], *, cancellable: bool = False) -> Job:
        """A new job."""
        job = Job(new_uuid(), description, svm, time.monotonic() + self.job_seconds, apply, cancellable=cancellable)
        self.jobs[job.uuid] = job
        return job

    def effect(self, method: str, path: str, **what: Any) -> None:
        """Log a change that takes effect now."""
        self.effects.append(Effect(method, path, what))

    # --- objects

    def hide(self, record: Record) -> None:
        """Let a new object show only after a while."""
        if self.hidden_seconds:
            self._shows_at[record["uuid"]] = time.monotonic() + self.hidden_seconds

    def shows(self, record: Record) -> bool:
        """Does an object show by now?"""
        return self._shows_at.get(str(record.get("uuid")), 0.0) <= time.monotonic()

    def rename_vserver(self, old: str, new: str) -> None:
        """As a switch-over does: whatever belongs to it is under the new name."""
        self.vservers[new] = self.vservers.pop(old)
        for records in (self.volumes, self.policies, self.locks):
            for record in records.values():
                if record["svm"]["name"] == old:
                    record["svm"] = record["svm"] | {"name": new}

    def add_volume(self, name: str, *, svm: str = "", **changes: Any) -> Record:
        """Put a volume there, without a job and without an effect."""
        uuid = new_uuid()
        aggregate = changes.pop("aggregate", "aggr1_n1")
        record: Record = {
            "uuid": uuid,
            "name": name,
            "state": "online",
            "create_time": now_text(),
            "style": "flexvol",
            "type": "rw",
            "language": "c.utf_8",
            "comment": "",
            "is_svm_root": False,
            "is_constituent": False,
            "size": 100 * MIB,
            "svm": {"name": svm or self.vserver, "uuid": "svm-" + (svm or self.vserver)},
            "aggregates": [{"name": aggregate, "uuid": "aggr-" + aggregate}],
            "nodes": [{"name": self.aggregates[aggregate]["node"]}],
            "nas": {"export_policy": {"name": "default"}, "security_style": "unix", "unix_permissions": 755},
            "snapshot_policy": {"name": "default", "uuid": "snapshot-policy-default"},
            "guarantee": {"type": "none"},
            "qos": {},
            "tiering": {"policy": "none"},
            "space": {"snapshot": {"reserve_percent": 5}, "used": 320 * 1024},
            "autosize": {"mode": "off", "maximum": 120 * MIB},
            "efficiency": {"compression": "none", "dedupe": "none", "state": "disabled"},
            "flash_pool": {"caching_policy": "auto"},
            "_links": {"self": {"href": f"/api/storage/volumes/{uuid}"}},
        }
        for key, value in changes.items():
            record[key] = record[key] | value if isinstance(record.get(key), dict) else value
        self.volumes[uuid] = record
        self.snapshots.setdefault(uuid, {})
        refresh(record)
        return record

    def add_snapshot(self, volume: Record, name: str, **changes: Any) -> Record:
        """Put a snapshot there."""
        uuid = new_uuid()
        href = f"/api/storage/volumes/{volume['uuid']}/snapshots/{uuid}"
        record: Record = {
            "uuid": uuid,
            "name": name,
            "create_time": now_text(after=self._newest_time(volume["uuid"])),
            "size": volume["space"]["used"],
            "reclaimable_space": 128 * 1024,
            "volume": {"name": volume["name"], "uuid": volume["uuid"]},
            "svm": volume["svm"],
            "_links": {"self": {"href": href}},
            **changes,
        }
        self.snapshots[volume["uuid"]][uuid] = record
        return record

    def _newest_time(self, volume_uuid: str) -> str:
        """Snapshots that a test makes at once are not made within one second: their order is known."""
        times = [snapshot["create_time"] for snapshot in self.snapshots[volume_uuid].values()]
        return max((time for time in times if isinstance(time, str)), default="")

    def add_policy(self, svm: str, name: str, rules: list[list[str]]) -> Record:
        """Put an export policy there, each rule a list of clients."""
        number = self._next_policy
        self._next_policy += 1
        made = [full_rule(index, rule) for index, rule in enumerate(rules, 1)]
        self.policies[number] = {
            "id": number,
            "name": name,
            "svm": {"name": svm, "uuid": "svm-" + svm},
            "rules": made,
            "_links": {"self": {"href": f"/api/protocols/nfs/export-policies/{number}"}},
        }
        return self.policies[number]

    def add_lock(self, volume: Record, client: str) -> Record:
        """Let a client hold a lock."""
        uuid = new_uuid()
        self.locks[uuid] = {
            "uuid": uuid,
            "client_address": client,
            "protocol": "nlm",
            "type": "byte_range",
            "state": "granted",
            "path": "/vol/file",
            "svm": volume["svm"],
            "volume": {"name": volume["name"], "uuid": volume["uuid"]},
            "_links": {"self": {"href": f"/api/protocols/locks/{uuid}"}},
        }
        return self.locks[uuid]


def full_rule(index: int, clients: list[str], **rights: Any) -> Record:
    """An export rule that gives every right, but for what ``rights`` says."""
    return {
        "index": index,
        "clients": [{"match": client} for client in clients],
        "protocols": ["nfs"],
        "ro_rule": ["sys"],
        "rw_rule": ["sys"],
        "superuser": ["sys"],
        "anonymous_user": "0",
        **rights,
    }


def refresh(volume: Record) -> None:
    """Update the fields that ONTAP derives from others."""
    space, size = volume["space"], volume["size"]
    if volume["state"] != "online":
        for name in ("available", "used", "afs_total"):
            space.pop(name, None)
        if volume["state"] == "offline":
            volume.pop("autosize", None)
        return
    reserve = size * space["snapshot"]["reserve_percent"] // 100 // 4096 * 4096
    space["size"] = size
    space["snapshot"]["reserve_size"] = reserve
    space["snapshot"].setdefault("space_used_percent", 0)
    space["afs_total"] = size - reserve
    space.setdefault("used", 320 * 1024)
    space["available"] = max(0, space["afs_total"] - space["used"])
