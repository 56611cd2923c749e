"""Jobs as a model of a few lines, beside the scripts on a real Redis: both agree after any sequence of steps."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.worker.harness import PREFIX, SUBSYSTEM
from worker.execution.claims import MAX_WORKER_LOSSES
from worker.jobs.query import MAX_SEQ, JobFilter, JobScope, index_query, key_of
from worker.jobs.record import State

_VOLUMES = ("a", "b")
_LEASE_MS = 15_000
_DONE = ("succeeded", "failed", "cancelled")


@dataclass
class Model:
    """What a job is."""

    id: str
    volumes: tuple[str, ...]
    state: str = "queued"
    token: str = ""
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


class JobStateMachine(RuleBasedStateMachine):
    """Accepts, sends messages, records intents, renews, ends, cancels, sweeps; by present workers and lost ones."""

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
            "behind_paths": "1", "requester_key": key_of("me"), "roles": "ADMIN", "volume": "", "cancellable": "1",
        }  # fmt: skip
        request = {
            "idempotency": key, "request_hash": "h", "idempotency_ms": 60_000, "inflight": "", "seen": "",
            "may_join_running": True, "refresh": False, "queue_limit": 1000, "first_check_ms": 2000,
        }  # fmt: skip
        word, answering_id, _ = self.scripts.submit_job(job_id, fields, request, 1000, 10, f"to {job_id}")
        if key in self.keys:
            assert (word, answering_id) == ("REPLAYED", self.keys[key])
            return
        assert word == "NEW", word
        if key:
            self.keys[key] = job_id
        self.jobs.append(Model(job_id, volumes))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def send_message(self, data: st.DataObject) -> None:
        """A message arrives, for the first time or the fifth."""
        job = data.draw(st.sampled_from(self.jobs))
        self.tokens += 1
        token = f"owner{self.tokens}"
        word = self.scripts.claim(job.id, token, _LEASE_MS, 600_000, 600_000)[0]
        if job.state != "queued":
            assert word == ("CANCELLED" if job.state == "cancelled" else "TAKEN")
        elif self._is_behind(job):
            assert word == "BLOCKED"
        else:
            assert word == "CLAIMED"
            job.state, job.token, job.step, job.lapsed = "running", token, False, False
            job.tokens.append(token)

    @precondition(lambda self: self._held())
    @rule(data=st.data())
    def mark(self, data: st.DataObject) -> None:
        job, token = data.draw(st.sampled_from(self._held()))
        word = self.scripts.record_progress(job.id, token, "step", {"step": "sent"})
        if not (job.running and token == job.token):
            assert word == "LOST"
        elif job.state == "cancelling" and not job.step:
            assert word == "CANCEL"
        else:
            assert word == ("CANCEL" if job.state == "cancelling" else "GO")
            job.step = True

    @precondition(lambda self: self._held())
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        job, token = data.draw(st.sampled_from(self._held()))
        (word,) = self.scripts.renew_leases(_LEASE_MS, job.id, token)
        if not (job.running and token == job.token):
            assert word == "LOST"
            return
        assert word == ("CANCEL" if job.state == "cancelling" else "GO")
        job.lapsed = False

    @precondition(lambda self: self._held())
    @rule(data=st.data(), state=st.sampled_from(_DONE))
    def finish(self, data: st.DataObject, state: str) -> None:
        """By the worker that has it, by one that lost it, and again by one that got no answer."""
        job, token = data.draw(st.sampled_from(self._held()))
        word, messages, _ = self.scripts.finish(job.id, token, state, {}, [], 60_000, b"", 1000, 0)
        if job.running and token == job.token:
            assert word == "DONE"
            job.state, job.token, job.ended_by = state, "", token
            assert {publisher[0].decode() for publisher in messages} == self._queued_heads(job.volumes)
        else:
            assert word == ("DONE" if job.ended_by == token else "LOST")

    @precondition(lambda self: self._held())
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        job, token = data.draw(st.sampled_from(self._held()))
        word = self.scripts.requeue(job.id, token, 0, "retrying", counts=True)
        if not (job.running and token == job.token):
            assert word == "LOST"
        elif job.state == "cancelling":
            assert word == "CANCEL"
        elif not job.settling:
            assert word == "DONE"
            job.state, job.token, job.lapsed = "queued", "", False
        else:
            job.state, job.token = "queued", ""

    @precondition(lambda self: self._held())
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        job, token = data.draw(st.sampled_from(self._held()))
        word = self.scripts.hand_over(job.id, token, 0, "why", 5000)
        if job.running and token == job.token:
            assert word == "DONE"
            job.token, job.lapsed = "", True
        else:
            assert word == "LOST"

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        cancellable = self.client.hget(f"{PREFIX}job:{job.id}", "cancellable") == b"1"
        word = self.scripts.cancel(job.id, "me", 60_000)[0]
        if job.done:
            assert word == "TOO_LATE"
        elif job.state == "queued":
            assert word == "CANCELLED"
            job.state = "cancelled"
        elif job.state == "cancelling":
            assert word == "CANCELLING"
        elif cancellable:
            assert word == "CANCELLING"
            assert not job.step
            job.state = "cancelling"
        else:
            assert word == "TOO_LATE"

    @precondition(lambda self: any(job.running for job in self.jobs))
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A worker sends no more heartbeats, and another one sweeps."""
        job = data.draw(st.sampled_from([job for job in self.jobs if job.running]))
        self.client.hset(f"{PREFIX}job:{job.id}", mapping={"lease": "1", "stalled_since": "1"})
        job.lapsed = True
        self.sweep()

    @rule()
    def sweep(self) -> None:
        seconds, micros = self.client.time()
        with self.client.pipeline() as pipe:
            for job in self.jobs:
                if not job.done:
                    pipe.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job.id: 1})
            looked: dict[Any, Any] = {"at": seconds * 1000 + micros // 1000, "since": 1}
            pipe.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", mapping=looked)
            pipe.execute()
        messages, to_settle, failed = self.scripts.recover_jobs(
            SUBSYSTEM, _LEASE_MS, 5000, MAX_WORKER_LOSSES, 60_000, "settle:x", 100
        )
        expected_given: set[str] = set()
        expected_failed: set[str] = set()
        for job in self.jobs:
            if job.running and job.lapsed:
                self._sweep_lapsed(job, expected_given, expected_failed)
        assert set(to_settle) == expected_given
        assert set(failed) == expected_failed
        for publisher in messages:
            assert self._by_id(publisher[0].decode()).state == "queued"

    def _sweep_lapsed(self, job: Model, taken_over: set[str], failed: set[str]) -> None:
        if job.step:
            job.token, job.lapsed, job.settling = f"settle:x:{job.id}", False, True
            job.tokens.append(job.token)
            taken_over.add(job.id)
        elif job.state == "cancelling":
            job.state, job.token = "cancelled", ""
        elif job.losses + 1 >= MAX_WORKER_LOSSES:
            job.state, job.token = "failed", ""
            failed.add(job.id)
        else:
            job.state, job.token, job.lapsed = "queued", "", False
            job.losses += 1

    # --- what always holds

    @invariant()
    def one_change_of_a_volume_at_a_time(self) -> None:
        for volume in _VOLUMES:
            assert sum(job.running for job in self.jobs if volume in job.volumes) <= 1

    @invariant()
    def each_job_has_its_message_when_it_is_accepted(self) -> None:
        templates = self.client.lrange(f"{PREFIX}celery:{SUBSYSTEM}.write", 0, -1)
        assert templates[::-1] == [f"to {job.id}".encode() for job in self.jobs]

    @invariant()
    def redis_holds_what_the_model_says(self) -> None:
        expected = self._expected_indexes()
        with self.client.pipeline(transaction=False) as pipe:
            for job in self.jobs:
                pipe.hmget(f"{PREFIX}job:{job.id}", "state", "token")
            for key in expected:
                pipe.zrange(f"{PREFIX}{key}", 0, -1)
            replies: list[Any] = pipe.execute()
        for job, (state, token) in zip(self.jobs, replies, strict=False):
            assert (state.decode(), (token or b"").decode()) == (job.state, job.token), job
        for (key, members), there in zip(expected.items(), replies[len(self.jobs) :], strict=True):
            assert {member.decode() for member in there} == members, key

    def _expected_indexes(self) -> dict[str, set[str]]:
        open_jobs = {job.id for job in self.jobs if not job.done}
        queued = {job.id for job in self.jobs if job.state == "queued"}
        expected = {
            f"due:{SUBSYSTEM}": open_jobs,
            f"queued:{SUBSYSTEM}.write": queued,
            f"running:{SUBSYSTEM}.write": open_jobs - queued,
        }
        for volume in _VOLUMES:
            expected[f"ordering:{SUBSYSTEM}:volume:{volume}"] = {
                job.id for job in self.jobs if volume in job.volumes and not job.done
            }
        return expected

    @invariant()
    def the_index_holds_what_the_model_says(self) -> None:
        for state in State:
            job_filter = JobFilter(states=(state,), operations=("clone_volume",))
            query = index_query(job_filter, JobScope("me"), seqs=(0, MAX_SEQ), limit=1000, effort=1000)
            expected = [job.id for job in reversed(self.jobs) if job.state == state]
            assert self.scripts.list_jobs(query) == (expected, None), state

    # --- looks

    def _held(self) -> list[tuple[Model, str]]:
        return [(job, token) for job in self.jobs for token in job.tokens]

    def _is_behind(self, job: Model) -> bool:
        earlier = self.jobs[: self.jobs.index(job)]
        return any(not other.done and set(other.volumes) & set(job.volumes) for other in earlier)

    def _queued_heads(self, volumes: tuple[str, ...]) -> set[str]:
        heads = set()
        for volume in volumes:
            listing_state = [job for job in self.jobs if volume in job.volumes and not job.done]
            if listing_state and listing_state[0].state == "queued":
                heads.add(listing_state[0].id)
        return heads

    def _by_id(self, job_id: str) -> Model:
        return next(job for job in self.jobs if job.id == job_id)
