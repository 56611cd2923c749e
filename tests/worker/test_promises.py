"""What each script and each part of a worker promises when something is broken, one at a time."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
import redis

from storage_backends.errors import BackendUnavailable
from storage_backends.journal import LeaseLost, TimedOut
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness, Node
from worker.catalog.operations import QueueClass
from worker.config.settings import load
from worker.execution.claims import Completion
from worker.execution.lease import Lease
from worker.execution.runner import Slots
from worker.jobs.ids import JobIds
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State
from worker.jobs.service import Jobs
from worker.listings.repository import Listings
from worker.messaging.app import create_celery
from worker.messaging.messages import TaskMessage
from worker.messaging.publisher import TaskPublisher
from worker.store.client import REDIS_UNAVAILABLE, WriteRefused, connect, job_id_secret
from worker.store.results import SubmitOutcome
from worker.store.scripts import JobScripts


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


def _now_ms(client: redis.Redis) -> int:
    seconds, micros = client.time()
    return int(seconds * 1000 + micros // 1000)


# --- who has a job, and who had it


def test_an_end_whose_answer_was_lost_is_answered_again(harness: Harness, node: Node):
    job_id, behind = harness.accept("update_volume", volume="vol"), harness.accept("restrict_volume", volume="vol")
    lease = node.claim(job_id)
    harness.publisher.take()
    for _ in range(2):
        assert node.claims.complete(lease, Completion(State.SUCCEEDED, result=b"null"))
        assert [message.job_id for message in harness.publisher.take()] == [behind]


def test_a_worker_that_was_given_up_changes_neither_the_job_nor_the_filer(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    zombie = node.claim(job_id)
    zombie.record_intent("create_volume")
    harness.let_time_pass()
    harness.node().sweep()
    assert harness.job(job_id).failure.code == "worker-lost"  # type: ignore[union-attr]
    with pytest.raises(LeaseLost):
        harness.backend.create_volume("new", journal=_Deaf(zombie))
    assert not node.claims.complete(zombie, Completion(State.SUCCEEDED, result=b"null"))
    assert harness.job(job_id).state is State.FAILED
    assert harness.effects() == {job_id: False}


class _Deaf(Lease):
    """The journal of a worker that was stopped after its mark, and looks at no clock any more."""

    def __init__(self, lease: Lease) -> None:
        self.__dict__ = lease.__dict__

    def checkpoint(self) -> None:
        return

    def record_intent(self, step: str, *, steps_done: int | None = None, **facts: str) -> None:
        return


def test_a_hold_counts_from_when_it_was_asked_for(harness: Harness, node: Node, monkeypatch: pytest.MonkeyPatch):
    job_id = harness.accept("create_volume")
    claim = harness.scripts.claim

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(harness.scripts, name)

        def claim(self, *arguments: Any) -> Any:
            answer = claim(*arguments)
            clock[0] += harness.settings.lease
            return answer

    clock = [1000.0]
    monkeypatch.setattr("worker.execution.claims.time.monotonic", lambda: clock[0])
    lease = harness.node(scripts=Slow()).claim(job_id)
    with pytest.raises(LeaseLost):
        lease.checkpoint()


def test_a_job_is_settled_only_by_the_worker_that_was_given_it(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    node.claim(job_id).record_intent("create_volume")
    assert node.reconciler.reconcile(job_id, "settle:somebody-else") is None
    assert harness.job(job_id).state is State.RUNNING


def test_jobs_that_kill_their_workers_are_given_up_and_attempts_are_no_losses(harness: Harness, node: Node):
    job_id = harness.accept("get_volume")
    for _ in range(5):
        node.claims.requeue(node.claim(job_id), 0)
    for _ in range(2):
        node.claim(job_id)
        harness.let_time_pass()
        assert node.sweep() == ([], [])
        assert harness.job(job_id).state is State.QUEUED
    node.claim(job_id)
    harness.let_time_pass()
    assert node.sweep() == ([], [job_id])
    assert harness.job(job_id).failure.code == "worker-lost"  # type: ignore[union-attr]


def test_a_step_and_its_number_are_one_write(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    lease = node.claim(job_id)
    before = harness.job(job_id).version
    lease.record_intent("mount", steps_done=2, url="PATCH /api")
    job = harness.job(job_id)
    assert (job.step, job.current, job.unit, job.facts) == ("mount", 2, "steps", {"url": "PATCH /api"})
    assert job.version == before + 1


# --- time


def test_after_redis_was_away_nobody_is_suspect_at_once(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    harness.let_time_pass()
    harness.client.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", "at", "1")
    assert node.sweep() == ([], [])
    node.lease_renewer.renew()
    harness.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: 1})
    assert node.sweep() == ([], [])
    lease.checkpoint()
    # Nobody renews what was handed over: that is not waited for.
    node.claims.hand_over(lease, "")
    harness.client.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", "at", "1")
    assert node.sweep() == ([job_id], [])


def test_a_clock_that_was_set_back_delays_nothing(harness: Harness, node: Node):
    job_id, far = harness.accept("create_volume"), str(_now_ms(harness.client) + 3_600_000)
    node.claim(job_id)
    harness.let_time_pass()
    for name in ("lease", "stalled_since", "deadline"):
        harness.client.hset(f"{PREFIX}job:{job_id}", name, far)
    harness.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: float(far)})
    node.sweep()
    due: Any = harness.client.zscore(f"{PREFIX}due:{SUBSYSTEM}", job_id)
    assert due < _now_ms(harness.client) + 60_000
    harness.client.hset(f"{PREFIX}job:{job_id}", mapping={"lease": "1", "stalled_since": "1"})
    harness.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: 1})
    node.sweep()
    assert harness.job(job_id).state is State.QUEUED


def test_a_worker_from_before_the_clock_was_set_back_is_not_online(harness: Harness):
    queue, job_id = f"{SUBSYSTEM}.write", harness.accept("create_volume")
    harness.client.zadd(f"{PREFIX}workers:{queue}", {"dead": _now_ms(harness.client) + 3_600_000})
    harness.client.hset(f"{PREFIX}slots:{queue}", "dead", 8)
    assert harness.jobs.get(job_id).waiting_reason == "no-worker-online"  # type: ignore[union-attr]
    assert harness.scripts.queue_stats(15_000, queue)[0][3] == []
    harness.scripts.worker_heartbeat("alive", {queue: 2})
    assert harness.client.zrange(f"{PREFIX}workers:{queue}", 0, -1) == [b"alive"]
    assert harness.client.get(f"{PREFIX}capacity:{queue}") == b"2"


def test_a_thread_that_hangs_is_notified_of_once_and_loses_its_job(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    lease.limit_at = time.monotonic() - 1000
    node.lease_renewer.renew()
    node.lease_renewer.renew()
    assert node.hung == [lease]
    harness.let_time_pass()
    harness.client.hset(f"{PREFIX}job:{job_id}", mapping={"lease": "5", "deadline": "4"})
    harness.node().sweep()
    assert harness.job(job_id).failure.code == "timed-out"  # type: ignore[union-attr]


# --- what cannot be carried out


def test_a_filer_that_cannot_be_looked_at_is_looked_at_again_until_patience_ends(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    node.claim(job_id).record_intent("create_volume")

    def away(*_: Any, **__: Any) -> None:
        raise BackendUnavailable("away")

    harness.backend.reconcile = away  # type: ignore[method-assign, assignment]
    harness.let_time_pass()
    node.sweep()
    assert harness.job(job_id).state is State.RUNNING
    harness.client.hset(f"{PREFIX}job:{job_id}", "in_doubt_since", "1")
    harness.let_time_pass()
    node.sweep()
    assert harness.job(job_id).failure.code == "outcome-unknown"  # type: ignore[union-attr]


def test_a_look_that_takes_too_long_ends_too(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    node.claim(job_id).record_intent("create_volume")

    def endless(*_: Any, **__: Any) -> None:
        raise TimedOut

    harness.backend.reconcile = endless  # type: ignore[method-assign, assignment]
    harness.client.hset(f"{PREFIX}job:{job_id}", "in_doubt_since", "1")
    harness.let_time_pass()
    node.sweep()
    assert harness.job(job_id).failure.code == "outcome-unknown"  # type: ignore[union-attr]


def test_an_operator_settles_only_what_is_being_settled(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    assert harness.jobs.force_outcome(job_id, State.SUCCEEDED, {}, []) == "NOT_IN_DOUBT"
    node.claims.hand_over(lease, "")
    step = Listings(harness.client, harness.scripts, harness.settings).step("invalidate", f"{SUBSYSTEM}/volumes")
    assert harness.jobs.force_outcome(job_id, State.SUCCEEDED, {}, [step]) == "DONE"
    assert harness.client.hget(f"{PREFIX}listing:{SUBSYSTEM}/volumes", "epoch")
    assert harness.job(job_id).state is State.SUCCEEDED
    assert not harness.leftovers()


def test_a_job_of_another_filer_or_another_release_is_left_to_others(harness: Harness, node: Node):
    foreign, newer = harness.accept("create_volume", volume="x"), harness.accept("create_volume", volume="y")
    harness.client.hset(f"{PREFIX}job:{foreign}", "subsystem", "elsewhere")
    node.carry_out(foreign)
    harness.client.hset(f"{PREFIX}job:{newer}", "operation", "invented_later")
    assert node.claims.claim(newer) == "UNKNOWN"
    assert {harness.field(job_id, "state") for job_id in (foreign, newer)} == {"queued"}
    assert harness.effects() == {}


def test_a_job_without_a_record_holds_nobody_up(harness: Harness, node: Node):
    gone, job_id = harness.accept("update_volume", volume="vol"), harness.accept("restrict_volume", volume="vol")
    harness.client.delete(f"{PREFIX}job:{gone}")
    harness.let_time_pass()
    harness.publisher.take()
    node.sweep()
    node.consume()
    assert harness.job(job_id).state is State.SUCCEEDED


# --- order


def test_a_name_and_a_path_of_one_volume_stand_in_one_line(harness: Harness, node: Node):
    first = harness.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    second = harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=2)
    third = harness.accept("update_volume", volume="other:/VOL", percentage_snapshot_reserve=3)
    assert [node.claims.claim(job_id) for job_id in (second, third)] == ["BLOCKED", "BLOCKED"]
    harness.publisher.take()
    node.carry_out(first)
    woken = [message.job_id for message in harness.publisher.take()]
    assert second in woken
    node.carry_out(second)
    node.carry_out(third)
    assert [harness.job(job_id).state for job_id in (first, second, third)] == [State.SUCCEEDED] * 3


def test_a_path_waits_for_the_volume_that_will_be_mounted_there(harness: Harness, node: Node):
    made = harness.accept("create_volume", volume="fresh")
    by_path = harness.accept("update_volume", volume="node:/fresh", percentage_snapshot_reserve=9)
    assert "path:/fresh" in harness.ordering_keys(made)
    assert node.claims.claim(by_path) == "BLOCKED"
    node.carry_out(made)
    node.carry_out(by_path)
    assert harness.job(by_path).state is State.SUCCEEDED


@pytest.mark.parametrize("source", ["vol", "node:/vol"])
def test_a_clone_stands_in_the_lines_of_both_volumes(harness: Harness, node: Node, source: str):
    clone = harness.accept("clone_volume", volume="copy", from_volume=source, from_snapshot="snap")
    of_source = harness.accept("restrict_volume", volume="vol")
    after = harness.accept("update_volume", volume="copy", percentage_snapshot_reserve=9)
    assert [node.claims.claim(job_id) for job_id in (of_source, after)] == ["BLOCKED", "BLOCKED"]
    node.carry_out(clone)
    assert harness.job(clone).state is State.SUCCEEDED
    node.carry_out(after)
    assert harness.job(after).state is State.SUCCEEDED


# --- cancel


def test_a_job_that_is_given_back_while_it_is_cancelled_is_cancelled(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    lease = node.claim(job_id)
    assert harness.jobs.cancel(job_id, "ann") == "CANCELLING"
    node.claims.requeue(lease, 5, "backend-unavailable")
    assert harness.job(job_id).state is State.CANCELLED
    assert not harness.leftovers()


def test_a_cancel_outlives_the_worker(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    node.claim(job_id)
    assert harness.jobs.cancel(job_id, "ann") == "CANCELLING"
    harness.recover(harness.node(), job_id)
    assert harness.job(job_id).state is State.CANCELLED
    assert harness.effects() == {}


# --- slots and messages


def test_a_queue_has_so_many_slots_and_no_more(harness: Harness):
    slots, queue = Slots(harness.settings), f"{SUBSYSTEM}.write"
    taken = [slots.take(queue, QueueClass.WRITE) for _ in range(200)]
    assert sum(taken) == harness.settings.write_slots
    # Others were turned away: slots that become free look for their jobs before they are given back.
    assert [slots.free(queue) for _ in range(harness.settings.write_slots)] == [False] * harness.settings.write_slots
    assert slots.free_slots(queue) == 0
    assert slots.free(queue)
    assert slots.free_slots(queue) == 1


def _queue_of_messages(harness: Harness) -> list[str]:
    """The ids of the jobs that have a message."""
    messages: Any = harness.client.lrange(f"{PREFIX}celery:{SUBSYSTEM}.write", 0, -1)
    return [json.loads(text)["headers"]["id"] for text in messages]


def test_no_message_is_sent_for_a_job_that_finds_every_slot_busy(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    message = json.dumps({"headers": {"id": "{}"}})
    monkeypatch.setattr(
        harness.publisher, "message_for", lambda message_of: message.replace("{}", message_of.job_id), raising=False
    )
    harness.scripts.worker_heartbeat("node", {f"{SUBSYSTEM}.write": 2})
    accepted = [harness.accept("create_volume", volume=f"v{n}") for n in range(5)]
    assert sorted(_queue_of_messages(harness)) == sorted(accepted[:2])
    assert [job_id for job_id in accepted if harness.field(job_id, "dispatched_at")] == accepted[:2]
    # A slot that takes its message has room for nothing else.
    harness.client.delete(f"{PREFIX}celery:{SUBSYSTEM}.write")
    node = harness.node()
    leases = [node.claim(job_id) for job_id in accepted[:2]]
    harness.accept("create_volume", volume="late")
    assert _queue_of_messages(harness) == []
    for lease in leases:
        node.executor.execute(lease)
    sent = harness.accept("create_volume", volume="later")
    assert _queue_of_messages(harness) == [sent]


def test_an_end_sends_no_more_messages_than_there_are_idle_slots(harness: Harness, node: Node):
    harness.scripts.worker_heartbeat("node", {f"{SUBSYSTEM}.write": 1})
    clone = node.claim(harness.accept("clone_volume"))
    behind = [harness.accept("update_volume", volume=name, percentage_snapshot_reserve=1) for name in ("vol", "copy")]
    harness.publisher.take()
    node.executor.execute(clone)
    sent = [message.job_id for message in harness.publisher.take()]
    assert len(sent) == 1
    assert [job_id for job_id in behind if harness.field(job_id, "dispatched_at")] == sent


def test_the_slot_of_a_job_that_ends_gets_the_next_runnable_one_in_the_same_step(harness: Harness, node: Node):
    first = harness.accept("create_volume", volume="vol1")
    behind = harness.accept("update_volume", volume="held", percentage_snapshot_reserve=1)
    blocked = harness.accept("update_volume", volume="held", percentage_snapshot_reserve=2)
    free = harness.accept("create_volume", volume="vol2")
    lease, blocking = node.claim(first), node.claim(behind)
    lease.claims_next = lambda: True
    node.executor.execute(lease)
    assert lease.next_lease is not None
    assert lease.next_lease.job_id == free
    assert harness.job(free).state is State.RUNNING
    assert harness.job(blocked).state is State.QUEUED
    assert blocking.next_lease is None


@pytest.mark.parametrize("meanwhile", ["nothing", "taken", "cancelled"])
def test_a_next_job_whose_reply_was_lost_is_not_lost_and_not_begun_twice(harness: Harness, node: Node, meanwhile: str):
    first, second = harness.accept("create_volume", volume="vol1"), harness.accept("create_volume", volume="vol2")
    lease = node.claim(first)
    lease.claims_next = lambda: True
    finish, calls = harness.scripts.finish, 0

    def lose_the_first_reply(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        answer = finish(*arguments)
        if calls == 1:
            harness.client.hset(f"{PREFIX}job:{second}", "lease", 1)
            if meanwhile == "taken":
                harness.client.hset(f"{PREFIX}job:{second}", "token", "of another worker")
            if meanwhile == "cancelled":
                harness.jobs.cancel(second, "ann")
            raise redis.ConnectionError("lost")
        return answer

    node.scripts = harness.scripts
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(node.claims._scripts, "finish", lose_the_first_reply)
        node.executor.execute(lease)
    assert calls == 2
    begun = [lease.next_lease.job_id] if lease.next_lease else []
    assert begun == ([second] if meanwhile == "nothing" else [])
    assert [renewed.job_id for renewed in node.lease_renewer.leases()] == begun
    assert (int(harness.field(second, "lease")) > _now_ms(harness.client)) is (meanwhile == "nothing")


def test_free_slots_find_what_waits_far_down_the_lane(harness: Harness, node: Node):
    for _ in range(150):
        harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=1)
    other = harness.accept("create_volume", volume="other")
    harness.publisher.take()
    node.fill()
    assert other in [message.job_id for message in harness.publisher.take()]
    node.fill()
    assert harness.publisher.take() == []


def test_a_broker_that_is_away_delays_nobody(harness: Harness):
    settings = load(type(harness.settings), SAPI_DEBUG=True, broker_url="amqp://127.0.0.1:1//")
    publisher = TaskPublisher(create_celery(settings), limit=10)
    submitting = threading.Thread(
        target=publisher.publish_soon,
        args=([TaskMessage(str(n), f"{SUBSYSTEM}.write", "create_volume") for n in range(100)],),
        daemon=True,
    )
    submitting.start()
    submitting.join(timeout=20)
    assert not submitting.is_alive()
    publisher.close(timeout_s=0.1)


# --- a Redis that refuses


@pytest.fixture
def full(harness: Harness) -> Any:
    """Fill Redis when called."""
    yield lambda: harness.client.config_set("maxmemory", 1)
    harness.client.config_set("maxmemory", 0)


def test_a_full_redis_refuses_jobs_whole_and_lets_those_that_are_there_end(harness: Harness, node: Node, full: Any):
    changing, reading = harness.accept("update_volume", volume="node:/vol"), harness.accept("list_policies")
    harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=2)
    putting = node.claim(harness.accept("create_policy"))
    before = sorted(harness.client.keys("*"))
    full()
    with pytest.raises(REDIS_UNAVAILABLE):
        harness.accept("create_volume")
    assert sorted(harness.client.keys("*")) == before
    assert len(harness.jobs.find(JobFilter(), JobScope("ann"), 10)[0]) == 4
    node.carry_out(changing)
    assert harness.job(changing).state is State.SUCCEEDED
    assert node.carry_out(reading) is None
    assert harness.job(reading).waiting_reason == "retrying"
    node.claims.requeue(putting, 0)
    assert harness.job(putting.job_id).state is State.QUEUED
    node.sweep()
    assert harness.jobs.cancel(reading, "ann") == "CANCELLED"
    harness.client.config_set("maxmemory", 0)


def test_a_worker_starts_beside_a_full_redis(harness: Harness, full: Any):
    secret = job_id_secret(harness.client, PREFIX)
    full()
    assert job_id_secret(harness.client, PREFIX) == secret


def test_a_read_that_never_finds_room_ends(harness: Harness, node: Node, full: Any):
    job_id = harness.accept("list_policies")
    harness.client.hset(f"{PREFIX}job:{job_id}", "first_failure", "1")
    full()
    node.carry_out(job_id)
    assert harness.job(job_id).failure.code == "backend-error"  # type: ignore[union-attr]


def test_a_redis_with_too_few_replicas_counts_as_away(harness: Harness, redis_url: str):
    settings = load(type(harness.settings), SAPI_DEBUG=True, redis_url=redis_url)
    client = connect(settings, command_timeout_s=5)
    harness.client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(WriteRefused):
            JobScripts(client, PREFIX).worker_heartbeat("node", {"queue": 8})
    finally:
        harness.client.config_set("min-replicas-to-write", 0)
        client.close()


@pytest.mark.parametrize("key", ["", "k"])
def test_what_too_few_replicas_hold_is_not_accepted(harness: Harness, key: str):
    publisher: Any = harness.publisher
    jobs = Jobs(
        harness.client, JobScripts(harness.client, PREFIX, replicas=1), JobIds(b"secret"), publisher, harness.settings
    )
    with pytest.raises(WriteRefused):
        jobs.accept(harness.new("create_volume", key=key))
    (job_status,) = jobs.find(JobFilter(), JobScope("ann"), 10)[0]
    assert job_status.job.state is (State.QUEUED if key else State.CANCELLED)
    if key:
        assert harness.jobs.accept(harness.new("create_volume", key=key))[:2] == (
            SubmitOutcome.REPLAYED,
            job_status.job.id,
        )


def test_scripts_survive_a_redis_that_forgot_them(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    harness.client.script_flush()
    node.carry_out(job_id)
    assert harness.job(job_id).state is State.SUCCEEDED


# --- growth


def test_what_is_forgotten_leaves_nothing_behind(harness: Harness, node: Node):
    for operation in ("create_volume", "update_volume", "get_volume", "create_policy"):
        node.carry_out(harness.accept(operation, key=operation))
    finished: Any = harness.client.zrange(f"{PREFIX}expiring", 0, -1)
    harness.client.zadd(f"{PREFIX}expiring", dict.fromkeys(finished, 1))
    assert harness.scripts.purge_expired(500) == 4
    kinds = ("job:", "index", "result:", "expiring")
    keys: Any = harness.client.keys(f"{PREFIX}*")
    assert not [key for key in keys if key.decode().removeprefix(PREFIX).startswith(kinds)]
    assert not harness.leftovers()
