"""Jobs as a model of a few lines, beside the scripts on a real Redis: whatever happens, in any order, they agree."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.worker.bench import PREFIX, SUBSYSTEM
from worker.execution.claims import LOSSES

_VOLUMES = ("a", "b")
_LEASE_MS = 15_000
_DONE = ("succeeded", "failed", "cancelled")


@dataclass
class Model:
    """What a job is."""

    id: str
    volumes: tuple[str, ...]
    state: str = "queued"
    owner: str = ""
    step: bool = False
    lapsed: bool = False
    settling: bool = False
    losses: int = 0
    ended_by: str = ""
    tokens: list[str] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return self.state in ("running", "cancelling")

    @property
    def done(self) -> bool:
        return self.state in _DONE


class Machine(RuleBasedStateMachine):
    """Accepts, rings, marks, beats, ends, cancels and sweeps, by live workers and by ones that were given up."""

    def __init__(self, client: redis.Redis, scripts: Any) -> None:
        super().__init__()
        self.client = client
        self.scripts = scripts
        self.client.flushdb()
        self.jobs: list[Model] = []
        self.tokens = 0
        self.keys: dict[str, str] = {}

    # --- rules

    @rule(volumes=st.sampled_from((("a",), ("b",), ("a", "b"))), key=st.sampled_from(("", "", "k1", "k2")))
    def accept(self, volumes: tuple[str, ...], key: str) -> None:
        job_id = f"job{len(self.jobs)}"
        fields = {
            "id": job_id, "operation": "clone_volume", "kind": "change", "subsystem": SUBSYSTEM,
            "queue": f"{SUBSYSTEM}.write", "keys": json.dumps([f"volume:{v}" for v in volumes]), "references": "",
            "behind_paths": "1", "requester_key": "me", "volume": "", "cancellable": "1",
        }  # fmt: skip
        request = {
            "idempotency": key, "request_hash": "h", "idempotency_ms": 60_000, "flight": "", "seen": "",
            "join_begun": True, "refresh": False, "queue_limit": 1000, "first_sweep_ms": 2000,
        }  # fmt: skip
        word, known, _ = self.scripts.accept(job_id, json.dumps(fields), json.dumps(request), 1000, 10, f"to {job_id}")
        if key in self.keys:
            assert (word, known.decode()) == (b"REPLAYED", self.keys[key])
            return
        assert word == b"NEW", word
        if key:
            self.keys[key] = job_id
        self.jobs.append(Model(job_id, volumes))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def ring(self, data: st.DataObject) -> None:
        """A message arrives, for the first time or the fifth."""
        job = data.draw(st.sampled_from(self.jobs))
        self.tokens += 1
        token = f"owner{self.tokens}"
        word = self.scripts.claim(job.id, token, _LEASE_MS, 600_000, 600_000)[0]
        if job.state != "queued":
            assert word == (b"CANCELLED" if job.state == "cancelled" else b"TAKEN")
        elif self._is_behind(job):
            assert word == b"BEHIND"
        else:
            assert word == b"CLAIMED"
            job.state, job.owner, job.step, job.lapsed = "running", token, False, False
            job.tokens.append(token)

    @precondition(lambda self: self._held())
    @rule(data=st.data())
    def mark(self, data: st.DataObject) -> None:
        job, token = data.draw(st.sampled_from(self._held()))
        word = self.scripts.mark(job.id, token, "step", '{"step": "sent"}')
        if not (job.running and token == job.owner):
            assert word == b"LOST"
        elif job.state == "cancelling" and not job.step:
            assert word == b"CANCEL"
        else:
            assert word == (b"CANCEL" if job.state == "cancelling" else b"GO")
            job.step = True

    @precondition(lambda self: self._held())
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        job, token = data.draw(st.sampled_from(self._held()))
        (word,) = self.scripts.beat(_LEASE_MS, job.id, token)
        if not (job.running and token == job.owner):
            assert word == b"LOST"
            return
        assert word == (b"CANCEL" if job.state == "cancelling" else b"GO")
        job.lapsed = False

    @precondition(lambda self: self._held())
    @rule(data=st.data(), state=st.sampled_from(_DONE))
    def finish(self, data: st.DataObject, state: str) -> None:
        """By the worker that has it, by one that lost it, and again by one that heard no answer."""
        job, token = data.draw(st.sampled_from(self._held()))
        word, bells = self.scripts.finish(job.id, token, state, "{}", "[]", 60_000, "", 1000, 0)
        if job.running and token == job.owner:
            assert word == b"DONE"
            job.state, job.owner, job.ended_by = state, "", token
            assert {bell[0].decode() for bell in bells} == self._queued_heads(job.volumes)
        else:
            assert word == (b"DONE" if job.ended_by == token else b"LOST")

    @precondition(lambda self: self._held())
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        job, token = data.draw(st.sampled_from(self._held()))
        word = self.scripts.requeue(job.id, token, 0, "retrying", "0")
        if not (job.running and token == job.owner):
            assert word == b"LOST"
        elif job.state == "cancelling":
            assert word == b"CANCEL"
        elif not job.settling:
            assert word == b"DONE"
            job.state, job.owner, job.lapsed = "queued", "", False
        else:
            job.state, job.owner = "queued", ""

    @precondition(lambda self: self._held())
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        job, token = data.draw(st.sampled_from(self._held()))
        word = self.scripts.release(job.id, token, 0, "why", 5000)
        if job.running and token == job.owner:
            assert word == b"DONE"
            job.owner, job.lapsed = "", True
        else:
            assert word == b"LOST"

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        cancellable = self.client.hget(f"{PREFIX}job:{job.id}", "cancellable") == b"1"
        word = self.scripts.cancel(job.id, "me", 60_000)[0]
        if job.done:
            assert word == b"TOO_LATE"
        elif job.state == "queued":
            assert word == b"CANCELLED"
            job.state = "cancelled"
        elif job.state == "cancelling":
            assert word == b"CANCELLING"
        elif cancellable:
            assert word == b"CANCELLING"
            assert not job.step
            job.state = "cancelling"
        else:
            assert word == b"TOO_LATE"

    @precondition(lambda self: any(job.running for job in self.jobs))
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A worker is heard of no more, and somebody looks after its jobs."""
        job = data.draw(st.sampled_from([job for job in self.jobs if job.running]))
        self.client.hset(f"{PREFIX}job:{job.id}", mapping={"lease": "1", "suspect": "1"})
        job.lapsed = True
        self.sweep()

    @rule()
    def sweep(self) -> None:
        seconds, micros = self.client.time()
        with self.client.pipeline() as pipe:
            for job in self.jobs:
                if not job.done:
                    pipe.zadd(f"{PREFIX}open:{SUBSYSTEM}", {job.id: 1})
            looked: dict[Any, Any] = {"at": seconds * 1000 + micros // 1000, "since": 1}
            pipe.hset(f"{PREFIX}looked:{SUBSYSTEM}", mapping=looked)
            pipe.execute()
        bells, to_settle, failed = self.scripts.sweep(SUBSYSTEM, _LEASE_MS, 5000, LOSSES, 60_000, "settle:x", 100)
        expected_given: set[str] = set()
        expected_failed: set[str] = set()
        for job in self.jobs:
            if job.running and job.lapsed:
                self._sweep_lapsed(job, expected_given, expected_failed)
        assert {job_id.decode() for job_id in to_settle} == expected_given
        assert {job_id.decode() for job_id in failed} == expected_failed
        for bell in bells:
            assert self._by_id(bell[0].decode()).state == "queued"

    def _sweep_lapsed(self, job: Model, given: set[str], failed: set[str]) -> None:
        if job.step:
            job.owner, job.lapsed, job.settling = f"settle:x:{job.id}", False, True
            job.tokens.append(job.owner)
            given.add(job.id)
        elif job.state == "cancelling":
            job.state, job.owner = "cancelled", ""
        elif job.losses + 1 >= LOSSES:
            job.state, job.owner = "failed", ""
            failed.add(job.id)
        else:
            job.state, job.owner, job.lapsed = "queued", "", False
            job.losses += 1

    # --- what always holds

    @invariant()
    def one_change_of_a_volume_at_a_time(self) -> None:
        for volume in _VOLUMES:
            assert sum(job.running for job in self.jobs if volume in job.volumes) <= 1

    @invariant()
    def each_job_is_rung_for_as_it_is_accepted(self) -> None:
        letters = self.client.lrange(f"{SUBSYSTEM}.write", 0, -1)
        assert letters[::-1] == [f"to {job.id}".encode() for job in self.jobs]

    @invariant()
    def redis_holds_what_the_model_says(self) -> None:
        expected = self._expected_indexes()
        with self.client.pipeline(transaction=False) as pipe:
            for job in self.jobs:
                pipe.hmget(f"{PREFIX}job:{job.id}", "state", "owner")
            for key in expected:
                pipe.zrange(f"{PREFIX}{key}", 0, -1)
            found: list[Any] = pipe.execute()
        for job, (state, owner) in zip(self.jobs, found, strict=False):
            assert (state.decode(), (owner or b"").decode()) == (job.state, job.owner), job
        for (key, members), there in zip(expected.items(), found[len(self.jobs) :], strict=True):
            assert {member.decode() for member in there} == members, key

    def _expected_indexes(self) -> dict[str, set[str]]:
        open_jobs = {job.id for job in self.jobs if not job.done}
        queued = {job.id for job in self.jobs if job.state == "queued"}
        expected = {
            f"open:{SUBSYSTEM}": open_jobs,
            f"lane:{SUBSYSTEM}.write": queued,
            f"running:{SUBSYSTEM}.write": open_jobs - queued,
        }
        for volume in _VOLUMES:
            expected[f"order:{SUBSYSTEM}:volume:{volume}"] = {
                job.id for job in self.jobs if volume in job.volumes and not job.done
            }
        for state in ("queued", "running", "cancelling", *_DONE):
            expected[f"mine:me:state:{state}"] = {job.id for job in self.jobs if job.state == state}
        return expected

    # --- looks

    def _held(self) -> list[tuple[Model, str]]:
        return [(job, token) for job in self.jobs for token in job.tokens]

    def _is_behind(self, job: Model) -> bool:
        earlier = self.jobs[: self.jobs.index(job)]
        return any(not other.done and set(other.volumes) & set(job.volumes) for other in earlier)

    def _queued_heads(self, volumes: tuple[str, ...]) -> set[str]:
        heads = set()
        for volume in volumes:
            standing = [job for job in self.jobs if volume in job.volumes and not job.done]
            if standing and standing[0].state == "queued":
                heads.add(standing[0].id)
        return heads

    def _by_id(self, job_id: str) -> Model:
        return next(job for job in self.jobs if job.id == job_id)
