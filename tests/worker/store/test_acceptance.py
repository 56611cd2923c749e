"""What is compared, counted and refused when a job is accepted."""

from __future__ import annotations

from dataclasses import replace

from tests.worker.harness import PREFIX, Harness
from worker.jobs.idempotency import IdempotencyKeys
from worker.store.results import SubmitOutcome


def test_a_key_is_its_own_users(harness: Harness):
    mine, again = harness.new("create_volume", key="k"), harness.new("create_volume", key="k")
    hers = replace(mine, requester="bob")
    # The same name, and somebody else: a user of the provider who is called like the one of HTTP Basic.
    namesake = replace(mine, requester_id="subject 4711")
    accepted = [harness.jobs.accept(new)[:2] for new in (mine, hers, namesake, again)]
    outcomes, ids = zip(*accepted, strict=True)
    assert outcomes == (SubmitOutcome.NEW, SubmitOutcome.NEW, SubmitOutcome.NEW, SubmitOutcome.REPLAYED)
    assert len(set(ids)) == 3
    assert ids[3] == ids[0]
    keep_s, ttls_s = (
        harness.settings.idempotency_keep,
        [harness.client.ttl(key) for key in harness.client.scan_iter(f"{PREFIX}idem:*")],
    )
    assert len(ttls_s) == 3
    assert all(keep_s - 60 < ttl_s <= keep_s for ttl_s in ttls_s)


def test_the_key_of_a_batch_is_known_for_its_time(harness: Harness):
    harness.accept_batch(harness.new("create_volume"), key="k")
    (key,) = harness.client.scan_iter(f"{PREFIX}idem:*")
    keep_s = harness.settings.idempotency_keep
    assert keep_s - 60 < harness.client.ttl(key) <= keep_s


def test_only_reads_count_as_questions_to_the_storage_system(harness: Harness):
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
