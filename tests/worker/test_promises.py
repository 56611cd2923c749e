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
from tests.worker.bench import PREFIX, SUBSYSTEM, Bench, Node, steps_of
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
def node(bench: Bench) -> Node:
    return bench.node()


def _now_ms(client: redis.Redis) -> int:
    seconds, micros = client.time()
    return int(seconds * 1000 + micros // 1000)


# --- who has a job, and who had it


def test_an_end_whose_answer_was_lost_is_answered_again(bench: Bench, node: Node):
    job_id, behind = bench.accept("update_volume", volume="vol"), bench.accept("restrict_volume", volume="vol")
    lease = node.claim(job_id)
    bench.publisher.take()
    for _ in range(2):
        assert node.claims.complete(lease, Completion(State.SUCCEEDED, result=b"null"))
        assert [message.job_id for message in bench.publisher.take()] == [behind]


def test_a_worker_that_was_given_up_changes_neither_the_job_nor_the_filer(bench: Bench, node: Node):
    job_id = bench.accept("create_volume")
    zombie = node.claim(job_id)
    zombie.record_intent("create_volume")
    bench.let_time_pass()
    bench.node().sweep()
    assert bench.job(job_id).failure.code == "worker-lost"  # type: ignore[union-attr]
    with pytest.raises(LeaseLost):
        bench.backend.create_volume("new", journal=_Deaf(zombie))
    assert not node.claims.complete(zombie, Completion(State.SUCCEEDED, result=b"null"))
    assert bench.job(job_id).state is State.FAILED
    assert bench.effects() == {job_id: False}


class _Deaf(Lease):
    """The journal of a worker that was stopped after its mark, and looks at no clock any more."""

    def __init__(self, lease: Lease) -> None:
        self.__dict__ = lease.__dict__

    def checkpoint(self) -> None:
        return

    def record_intent(self, step: str, *, steps_done: int | None = None, **facts: str) -> None:
        return


def test_a_hold_counts_from_when_it_was_asked_for(bench: Bench, node: Node, monkeypatch: pytest.MonkeyPatch):
    job_id = bench.accept("create_volume")
    claim = bench.scripts.claim

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.scripts, name)

        def claim(self, *arguments: Any) -> Any:
            answer = claim(*arguments)
            clock[0] += bench.settings.lease
            return answer

    clock = [1000.0]
    monkeypatch.setattr("worker.execution.claims.time.monotonic", lambda: clock[0])
    lease = bench.node(scripts=Slow()).claim(job_id)
    with pytest.raises(LeaseLost):
        lease.checkpoint()


def test_a_job_is_settled_only_by_the_worker_that_was_given_it(bench: Bench, node: Node):
    job_id = bench.accept("create_volume")
    node.claim(job_id).record_intent("create_volume")
    assert node.reconciler.reconcile(job_id, "settle:somebody-else") is None
    assert bench.job(job_id).state is State.RUNNING


def test_jobs_that_kill_their_workers_are_given_up_and_attempts_are_no_losses(bench: Bench, node: Node):
    job_id = bench.accept("get_volume")
    for _ in range(5):
        node.claims.requeue(node.claim(job_id), 0)
    for _ in range(2):
        node.claim(job_id)
        bench.let_time_pass()
        assert node.sweep() == ([], [])
        assert bench.job(job_id).state is State.QUEUED
    node.claim(job_id)
    bench.let_time_pass()
    assert node.sweep() == ([], [job_id])
    assert bench.job(job_id).failure.code == "worker-lost"  # type: ignore[union-attr]


def test_a_step_and_its_number_are_one_write(bench: Bench, node: Node):
    job_id = bench.accept("create_volume")
    lease = node.claim(job_id)
    before = bench.job(job_id).version
    lease.record_intent("mount", steps_done=2, url="PATCH /api")
    job = bench.job(job_id)
    assert (job.step, job.current, job.unit, job.facts) == ("mount", 2, "steps", {"url": "PATCH /api"})
    assert job.version == before + 1


# --- time


def test_after_redis_was_away_nobody_is_suspect_at_once(bench: Bench, node: Node):
    job_id = bench.accept("create_volume")
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    bench.let_time_pass()
    bench.client.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", "at", "1")
    assert node.sweep() == ([], [])
    node.lease_renewer.renew()
    bench.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: 1})
    assert node.sweep() == ([], [])
    lease.checkpoint()
    # Nobody renews what was handed over: that is not waited for.
    node.claims.hand_over(lease, "")
    bench.client.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", "at", "1")
    assert node.sweep() == ([job_id], [])


def test_a_clock_that_was_set_back_delays_nothing(bench: Bench, node: Node):
    job_id, far = bench.accept("create_volume"), str(_now_ms(bench.client) + 3_600_000)
    node.claim(job_id)
    bench.let_time_pass()
    for name in ("lease", "stalled_since", "deadline"):
        bench.client.hset(f"{PREFIX}job:{job_id}", name, far)
    bench.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: float(far)})
    node.sweep()
    due: Any = bench.client.zscore(f"{PREFIX}due:{SUBSYSTEM}", job_id)
    assert due < _now_ms(bench.client) + 60_000
    bench.client.hset(f"{PREFIX}job:{job_id}", mapping={"lease": "1", "stalled_since": "1"})
    bench.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: 1})
    node.sweep()
    assert bench.job(job_id).state is State.QUEUED


def test_a_worker_from_before_the_clock_was_set_back_is_not_online(bench: Bench):
    queue, job_id = f"{SUBSYSTEM}.write", bench.accept("create_volume")
    bench.client.zadd(f"{PREFIX}workers:{queue}", {"dead": _now_ms(bench.client) + 3_600_000})
    bench.client.hset(f"{PREFIX}slots:{queue}", "dead", 8)
    assert bench.jobs.get(job_id).waiting_reason == "no-worker-online"  # type: ignore[union-attr]
    assert bench.scripts.queue_stats(15_000, queue)[0][3] == []
    bench.scripts.worker_heartbeat("alive", {queue: 2})
    assert bench.client.zrange(f"{PREFIX}workers:{queue}", 0, -1) == [b"alive"]
    assert bench.client.get(f"{PREFIX}capacity:{queue}") == b"2"


def test_a_thread_that_hangs_is_notified_of_once_and_loses_its_job(bench: Bench, node: Node):
    job_id = bench.accept("create_volume")
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    lease.limit_at = time.monotonic() - 1000
    node.lease_renewer.renew()
    node.lease_renewer.renew()
    assert node.hung == [lease]
    bench.let_time_pass()
    bench.client.hset(f"{PREFIX}job:{job_id}", mapping={"lease": "5", "deadline": "4"})
    bench.node().sweep()
    assert bench.job(job_id).failure.code == "timed-out"  # type: ignore[union-attr]


# --- what cannot be carried out


def test_a_filer_that_cannot_be_looked_at_is_looked_at_again_until_patience_ends(bench: Bench, node: Node):
    job_id = bench.accept("create_volume")
    node.claim(job_id).record_intent("create_volume")

    def away(*_: Any, **__: Any) -> None:
        raise BackendUnavailable("away")

    bench.backend.reconcile = away  # type: ignore[method-assign, assignment]
    bench.let_time_pass()
    node.sweep()
    assert bench.job(job_id).state is State.RUNNING
    bench.client.hset(f"{PREFIX}job:{job_id}", "in_doubt_since", "1")
    bench.let_time_pass()
    node.sweep()
    assert bench.job(job_id).failure.code == "outcome-unknown"  # type: ignore[union-attr]


def test_a_look_that_takes_too_long_ends_too(bench: Bench, node: Node):
    job_id = bench.accept("create_volume")
    node.claim(job_id).record_intent("create_volume")

    def endless(*_: Any, **__: Any) -> None:
        raise TimedOut

    bench.backend.reconcile = endless  # type: ignore[method-assign, assignment]
    bench.client.hset(f"{PREFIX}job:{job_id}", "in_doubt_since", "1")
    bench.let_time_pass()
    node.sweep()
    assert bench.job(job_id).failure.code == "outcome-unknown"  # type: ignore[union-attr]


def test_an_operator_settles_only_what_is_being_settled(bench: Bench, node: Node):
    job_id = bench.accept("create_volume")
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    assert bench.jobs.force_outcome(job_id, State.SUCCEEDED, {}, []) == "NOT_IN_DOUBT"
    node.claims.hand_over(lease, "")
    step = Listings(bench.client, bench.scripts, bench.settings).step("invalidate", f"{SUBSYSTEM}/volumes")
    assert bench.jobs.force_outcome(job_id, State.SUCCEEDED, {}, [step]) == "DONE"
    assert bench.client.hget(f"{PREFIX}listing:{SUBSYSTEM}/volumes", "epoch")
    assert bench.job(job_id).state is State.SUCCEEDED
    assert not bench.leftovers()


def test_a_job_of_another_filer_or_another_release_is_left_to_others(bench: Bench, node: Node):
    foreign, newer = bench.accept("create_volume", volume="x"), bench.accept("create_volume", volume="y")
    bench.client.hset(f"{PREFIX}job:{foreign}", "subsystem", "elsewhere")
    node.carry_out(foreign)
    bench.client.hset(f"{PREFIX}job:{newer}", "operation", "invented_later")
    assert node.claims.claim(newer) == "UNKNOWN"
    assert {bench.field(job_id, "state") for job_id in (foreign, newer)} == {"queued"}
    assert bench.effects() == {}


def test_a_job_without_a_record_holds_nobody_up(bench: Bench, node: Node):
    gone, job_id = bench.accept("update_volume", volume="vol"), bench.accept("restrict_volume", volume="vol")
    bench.client.delete(f"{PREFIX}job:{gone}")
    bench.let_time_pass()
    bench.publisher.take()
    node.sweep()
    node.consume()
    assert bench.job(job_id).state is State.SUCCEEDED


# --- order


def test_a_name_and_a_path_of_one_volume_stand_in_one_line(bench: Bench, node: Node):
    first = bench.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    second = bench.accept("update_volume", volume="vol", percentage_snapshot_reserve=2)
    third = bench.accept("update_volume", volume="other:/VOL", percentage_snapshot_reserve=3)
    assert [node.claims.claim(job_id) for job_id in (second, third)] == ["BLOCKED", "BLOCKED"]
    bench.publisher.take()
    node.carry_out(first)
    woken = [message.job_id for message in bench.publisher.take()]
    assert second in woken
    node.carry_out(second)
    node.carry_out(third)
    assert [bench.job(job_id).state for job_id in (first, second, third)] == [State.SUCCEEDED] * 3


def test_a_path_waits_for_the_volume_that_will_be_mounted_there(bench: Bench, node: Node):
    made = bench.accept("create_volume", volume="fresh")
    by_path = bench.accept("update_volume", volume="node:/fresh", percentage_snapshot_reserve=9)
    assert "path:/fresh" in steps_of(bench, made)
    assert node.claims.claim(by_path) == "BLOCKED"
    node.carry_out(made)
    node.carry_out(by_path)
    assert bench.job(by_path).state is State.SUCCEEDED


@pytest.mark.parametrize("source", ["vol", "node:/vol"])
def test_a_clone_stands_in_the_lines_of_both_volumes(bench: Bench, node: Node, source: str):
    clone = bench.accept("clone_volume", volume="copy", from_volume=source, from_snapshot="snap")
    of_source = bench.accept("restrict_volume", volume="vol")
    after = bench.accept("update_volume", volume="copy", percentage_snapshot_reserve=9)
    assert [node.claims.claim(job_id) for job_id in (of_source, after)] == ["BLOCKED", "BLOCKED"]
    node.carry_out(clone)
    assert bench.job(clone).state is State.SUCCEEDED
    node.carry_out(after)
    assert bench.job(after).state is State.SUCCEEDED


# --- cancel


def test_a_job_that_is_given_back_while_it_is_cancelled_is_cancelled(bench: Bench, node: Node):
    job_id = bench.accept("create_volume")
    lease = node.claim(job_id)
    assert bench.jobs.cancel(job_id, "ann") == "CANCELLING"
    node.claims.requeue(lease, 5, "backend-unavailable")
    assert bench.job(job_id).state is State.CANCELLED
    assert not bench.leftovers()


def test_a_cancel_outlives_the_worker(bench: Bench, node: Node):
    job_id = bench.accept("create_volume")
    node.claim(job_id)
    assert bench.jobs.cancel(job_id, "ann") == "CANCELLING"
    bench.recover(bench.node(), job_id)
    assert bench.job(job_id).state is State.CANCELLED
    assert bench.effects() == {}


# --- slots and messages


def test_a_queue_has_so_many_slots_and_no_more(bench: Bench):
    slots, queue = Slots(bench.settings), f"{SUBSYSTEM}.write"
    taken = [slots.take(queue, QueueClass.WRITE) for _ in range(200)]
    assert sum(taken) == bench.settings.write_slots
    # Others were turned away: slots that become free look for their jobs before they are given back.
    assert [slots.free(queue) for _ in range(bench.settings.write_slots)] == [False] * bench.settings.write_slots
    assert slots.free_slots(queue) == 0
    assert slots.free(queue)
    assert slots.free_slots(queue) == 1


def _queue_of_messages(bench: Bench) -> list[str]:
    """The ids of the jobs that have a message."""
    messages: Any = bench.client.lrange(f"{PREFIX}celery:{SUBSYSTEM}.write", 0, -1)
    return [json.loads(text)["headers"]["id"] for text in messages]


def test_no_message_is_sent_for_a_job_that_finds_every_slot_busy(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    message = json.dumps({"headers": {"id": "{}"}})
    monkeypatch.setattr(
        bench.publisher, "message_for", lambda message_of: message.replace("{}", message_of.job_id), raising=False
    )
    bench.scripts.worker_heartbeat("node", {f"{SUBSYSTEM}.write": 2})
    accepted = [bench.accept("create_volume", volume=f"v{n}") for n in range(5)]
    assert sorted(_queue_of_messages(bench)) == sorted(accepted[:2])
    assert [job_id for job_id in accepted if bench.field(job_id, "dispatched_at")] == accepted[:2]
    # A slot that takes its message has room for nothing else.
    bench.client.delete(f"{PREFIX}celery:{SUBSYSTEM}.write")
    node = bench.node()
    leases = [node.claim(job_id) for job_id in accepted[:2]]
    bench.accept("create_volume", volume="late")
    assert _queue_of_messages(bench) == []
    for lease in leases:
        node.executor.execute(lease)
    sent = bench.accept("create_volume", volume="later")
    assert _queue_of_messages(bench) == [sent]


def test_an_end_sends_no_more_messages_than_there_are_idle_slots(bench: Bench, node: Node):
    bench.scripts.worker_heartbeat("node", {f"{SUBSYSTEM}.write": 1})
    clone = node.claim(bench.accept("clone_volume"))
    behind = [bench.accept("update_volume", volume=name, percentage_snapshot_reserve=1) for name in ("vol", "copy")]
    bench.publisher.take()
    node.executor.execute(clone)
    sent = [message.job_id for message in bench.publisher.take()]
    assert len(sent) == 1
    assert [job_id for job_id in behind if bench.field(job_id, "dispatched_at")] == sent


def test_the_slot_of_a_job_that_ends_gets_the_next_runnable_one_in_the_same_step(bench: Bench, node: Node):
    first = bench.accept("create_volume", volume="vol1")
    behind = bench.accept("update_volume", volume="held", percentage_snapshot_reserve=1)
    blocked = bench.accept("update_volume", volume="held", percentage_snapshot_reserve=2)
    free = bench.accept("create_volume", volume="vol2")
    lease, blocking = node.claim(first), node.claim(behind)
    lease.claims_next = lambda: True
    node.executor.execute(lease)
    assert lease.next_lease is not None
    assert lease.next_lease.job_id == free
    assert bench.job(free).state is State.RUNNING
    assert bench.job(blocked).state is State.QUEUED
    assert blocking.next_lease is None


@pytest.mark.parametrize("taken_meanwhile", [False, True])
def test_a_next_job_whose_reply_was_lost_is_not_lost_and_not_begun_twice(
    bench: Bench, node: Node, taken_meanwhile: bool
):
    first, second = bench.accept("create_volume", volume="vol1"), bench.accept("create_volume", volume="vol2")
    lease = node.claim(first)
    lease.claims_next = lambda: True
    finish, calls = bench.scripts.finish, 0

    def lose_the_first_reply(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        answer = finish(*arguments)
        if calls == 1:
            bench.client.hset(f"{PREFIX}job:{second}", "lease", 1)
            if taken_meanwhile:
                bench.client.hset(f"{PREFIX}job:{second}", "token", "of another worker")
            raise redis.ConnectionError("lost")
        return answer

    node.scripts = bench.scripts
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(node.claims._scripts, "finish", lose_the_first_reply)
        node.executor.execute(lease)
    assert calls == 2
    begun = [lease.next_lease.job_id] if lease.next_lease else []
    assert begun == ([] if taken_meanwhile else [second])
    assert [renewed.job_id for renewed in node.lease_renewer.leases()] == begun
    assert (int(bench.field(second, "lease")) > _now_ms(bench.client)) is not taken_meanwhile


def test_free_slots_find_what_waits_far_down_the_lane(bench: Bench, node: Node):
    for _ in range(150):
        bench.accept("update_volume", volume="vol", percentage_snapshot_reserve=1)
    other = bench.accept("create_volume", volume="other")
    bench.publisher.take()
    node.fill()
    assert other in [message.job_id for message in bench.publisher.take()]
    node.fill()
    assert bench.publisher.take() == []


def test_a_broker_that_is_away_delays_nobody(bench: Bench):
    settings = load(type(bench.settings), SAPI_DEBUG=True, broker_url="amqp://127.0.0.1:1//")
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
def full(bench: Bench) -> Any:
    """Fill Redis when called."""
    yield lambda: bench.client.config_set("maxmemory", 1)
    bench.client.config_set("maxmemory", 0)


def test_a_full_redis_refuses_jobs_whole_and_lets_those_that_are_there_end(bench: Bench, node: Node, full: Any):
    changing, reading = bench.accept("update_volume", volume="node:/vol"), bench.accept("list_policies")
    bench.accept("update_volume", volume="vol", percentage_snapshot_reserve=2)
    putting = node.claim(bench.accept("create_policy"))
    before = sorted(bench.client.keys("*"))
    full()
    with pytest.raises(REDIS_UNAVAILABLE):
        bench.accept("create_volume")
    assert sorted(bench.client.keys("*")) == before
    assert len(bench.jobs.find(JobFilter(), JobScope("ann"), 10)[0]) == 4
    node.carry_out(changing)
    assert bench.job(changing).state is State.SUCCEEDED
    assert node.carry_out(reading) is None
    assert bench.job(reading).waiting_reason == "retrying"
    node.claims.requeue(putting, 0)
    assert bench.job(putting.job_id).state is State.QUEUED
    node.sweep()
    assert bench.jobs.cancel(reading, "ann") == "CANCELLED"
    bench.client.config_set("maxmemory", 0)


def test_a_worker_starts_beside_a_full_redis(bench: Bench, full: Any):
    secret = job_id_secret(bench.client, PREFIX)
    full()
    assert job_id_secret(bench.client, PREFIX) == secret


def test_a_read_that_never_finds_room_ends(bench: Bench, node: Node, full: Any):
    job_id = bench.accept("list_policies")
    bench.client.hset(f"{PREFIX}job:{job_id}", "first_failure", "1")
    full()
    node.carry_out(job_id)
    assert bench.job(job_id).failure.code == "backend-error"  # type: ignore[union-attr]


def test_a_redis_with_too_few_replicas_counts_as_away(bench: Bench, redis_url: str):
    settings = load(type(bench.settings), SAPI_DEBUG=True, redis_url=redis_url)
    client = connect(settings, command_timeout_s=5)
    bench.client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(WriteRefused):
            JobScripts(client, PREFIX).worker_heartbeat("node", {"queue": 8})
    finally:
        bench.client.config_set("min-replicas-to-write", 0)
        client.close()


@pytest.mark.parametrize("key", ["", "k"])
def test_what_too_few_replicas_hold_is_not_accepted(bench: Bench, key: str):
    publisher: Any = bench.publisher
    jobs = Jobs(
        bench.client, JobScripts(bench.client, PREFIX, replicas=1), JobIds(b"secret"), publisher, bench.settings
    )
    with pytest.raises(WriteRefused):
        jobs.accept(bench.new("create_volume", key=key))
    (job_status,) = jobs.find(JobFilter(), JobScope("ann"), 10)[0]
    assert job_status.job.state is (State.QUEUED if key else State.CANCELLED)
    if key:
        assert bench.jobs.accept(bench.new("create_volume", key=key))[:2] == (SubmitOutcome.REPLAYED, job_status.job.id)


def test_scripts_survive_a_redis_that_forgot_them(bench: Bench, node: Node):
    job_id = bench.accept("create_volume")
    bench.client.script_flush()
    node.carry_out(job_id)
    assert bench.job(job_id).state is State.SUCCEEDED


# --- growth


def test_what_is_forgotten_leaves_nothing_behind(bench: Bench, node: Node):
    for operation in ("create_volume", "update_volume", "get_volume", "create_policy"):
        node.carry_out(bench.accept(operation, key=operation))
    finished: Any = bench.client.zrange(f"{PREFIX}expiring", 0, -1)
    bench.client.zadd(f"{PREFIX}expiring", dict.fromkeys(finished, 1))
    assert bench.scripts.purge_expired(500) == 4
    kinds = ("job:", "index", "result:", "expiring")
    keys: Any = bench.client.keys(f"{PREFIX}*")
    assert not [key for key in keys if key.decode().removeprefix(PREFIX).startswith(kinds)]
    assert not bench.leftovers()
