"""What is compared, counted and refused when a job is accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from tests.worker.redis_clock import redis_now_ms
from worker.jobs.idempotency import IdempotencyKeys
from worker.jobs.query import JobFilter, JobScope, key_of
from worker.jobs.status import WORKER_TTL_MS
from worker.store.results import SubmitOutcome


def test_an_idempotency_key_belongs_to_its_user(harness: Harness):
    mine, again = harness.new("create_volume", key="k"), harness.new("create_volume", key="k")
    hers = replace(mine, requester="bob")
    # The same name, and another user: one of the provider with the name of the HTTP Basic user.
    namesake = replace(mine, requester_id="subject 4711")
    accepted = [harness.jobs.accept(new)[:2] for new in (mine, hers, namesake, again)]
    outcomes, ids = zip(*accepted, strict=True)
    assert outcomes == (SubmitOutcome.NEW, SubmitOutcome.NEW, SubmitOutcome.NEW, SubmitOutcome.REPLAYED)
    assert len(set(ids)) == 3
    assert ids[3] == ids[0]
    assert [message.job_id for message in harness.publisher.take()] == list(ids[:3])
    keep_s, ttls_s = (
        harness.settings.idempotency_keep,
        [harness.client.ttl(key) for key in harness.client.scan_iter(f"{PREFIX}idem:*")],
    )
    assert len(ttls_s) == 3
    assert all(keep_s - 60 < ttl_s <= keep_s for ttl_s in ttls_s)


def test_the_key_of_a_batch_expires_after_its_time(harness: Harness):
    harness.accept_batch(harness.new("create_volume"), key="k")
    (key,) = harness.client.scan_iter(f"{PREFIX}idem:*")
    keep_s = harness.settings.idempotency_keep
    assert keep_s - 60 < harness.client.ttl(key) <= keep_s


def test_only_reads_count_towards_the_read_limits(harness: Harness):
    harness.accept("create_volume")
    assert not list(harness.client.scan_iter(f"{PREFIX}reads_of:*"))
    harness.accept("list_volumes")
    (counter,) = harness.client.scan_iter(f"{PREFIX}reads_of:*")
    # It counts for the whole minute.
    assert 40 < harness.client.ttl(counter) <= 60


def test_of_two_requests_with_one_key_for_many_jobs_the_first_chooses(harness: Harness):
    keys = IdempotencyKeys(harness.client, harness.settings)
    first, second = (keys.freeze("ann:key", request_hash, [request_hash]) for request_hash in ("one", "two"))
    assert (first.request_hash, first.choice) == ("one", ["one"])
    assert second == first == keys.find("ann:key")


def test_a_read_counts_for_its_user_or_for_its_address_and_all_who_have_not_signed_in(harness: Harness):
    rates: dict[str, Any] = {"user_read_rate": 1, "address_read_rate": 2, "strangers_read_rate": 3}
    harness.jobs._settings = harness.settings.model_copy(update=rates)
    read, change = harness.new("get_volume"), harness.new("create_volume")
    anonymous = replace(read, requester="", network="192.0.2.0/24")
    assert harness.jobs._read_rates(read) == [(read.owner_key, 1)]
    assert harness.jobs._read_rates(anonymous) == [(f"address:{key_of('192.0.2.0/24')}", 2), ("strangers", 3)]
    # The service's own, and what is no read.
    assert harness.jobs._read_rates(replace(anonymous, network="")) == []
    assert harness.jobs._read_rates(change) == []
    harness.jobs._settings = harness.settings.model_copy(update=dict.fromkeys(rates, 0))
    assert harness.jobs._read_rates(anonymous) == []


def test_outcomes_that_are_refusals():
    refused = [outcome for outcome in SubmitOutcome if outcome.is_refused]
    assert refused == [SubmitOutcome.FULL, SubmitOutcome.SHARE_FULL, SubmitOutcome.READS_LIMITED]


def test_workers_are_counted_for_as_long_as_they_are_online_by_whatever_reads_a_job(harness: Harness):
    now_ms = redis_now_ms(harness.client)
    queue = f"{PREFIX}workers:{SUBSYSTEM}.write"
    harness.client.zadd(queue, {"online": now_ms - WORKER_TTL_MS + 6_500, "gone": now_ms - WORKER_TTL_MS - 1_000})
    _, job_id, accepted = harness.jobs.accept(harness.new("create_volume"))
    _, _, batch = harness.batches.accept(harness.new_batch([harness.new("create_policy")]))
    (listed,), _ = harness.jobs.find(JobFilter(ids=(job_id,)), JobScope(everybody=True), 9)
    statuses = (accepted, batch, listed, harness.jobs.get(job_id), harness.jobs.get_quickly(job_id))
    assert [status.workers_online if status else None for status in statuses] == [1] * 5
