"""Which requests are repetitions of an earlier one, and which reads are joined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.jobs.repeated_requests import Repeat
from worker.store.results import SubmitOutcome

# --- requests that come again


def _changed(harness: Harness, digest: str, **named: Any) -> tuple[SubmitOutcome, str]:
    new = replace(harness.new("create_snapshot", volume="vol", name="s"), repeat=Repeat(digest, 600), **named)
    return harness.jobs.accept(new)[:2]


def test_another_change_of_a_volume_makes_earlier_requests_new_ones(harness: Harness):
    _, first = _changed(harness, "one")
    harness.client.delete(f"{PREFIX}held:{first}")
    assert _changed(harness, "one") == (SubmitOutcome.REPEATED, first)
    harness.accept("create_snapshot", volume="other", name="x")
    # A clone does not change its source.
    harness.accept("clone_volume")
    assert _changed(harness, "one") == (SubmitOutcome.REPEATED, first)
    _, second = _changed(harness, "two")
    assert not harness.client.exists(f"{PREFIX}repeat:one")
    (key,) = harness.client.scan_iter(f"{PREFIX}repeats_of:*:vol")
    assert harness.client.smembers(key) == {b"two"}
    assert harness.client.pttl(key) > 600_000
    assert _changed(harness, "one")[0] is SubmitOutcome.NEW
    assert harness.client.exists(f"{PREFIX}held:{second}")
    # The end of the earlier job does not shorten how long the new request is remembered.
    harness.node().carry_out(first)
    assert harness.client.ttl(f"{PREFIX}repeat:one") > 600_000


def test_a_member_of_a_batch_makes_earlier_requests_of_its_volume_new_ones(harness: Harness):
    _changed(harness, "one")
    harness.accept_batch(harness.new("create_snapshot", volume="other", name="x"))
    assert harness.client.exists(f"{PREFIX}repeat:one")
    harness.accept_batch(harness.new("create_snapshot", volume="vol", name="x"))
    assert not harness.client.exists(f"{PREFIX}repeat:one")


def test_a_change_by_path_is_not_repeated_while_a_later_change_may_be_of_its_volume(harness: Harness):
    by_path = harness.new("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    new = replace(by_path, repeat=Repeat("one", 600))
    _, job_id, _ = harness.jobs.accept(new)
    harness.client.delete(f"{PREFIX}held:{job_id}")
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.REPEATED, job_id)
    harness.accept("create_snapshot", volume="other", name="x")
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.UNSETTLED, job_id)
    harness.node().carry_out(job_id)
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.REPEATED, job_id)
    harness.accept("update_volume", volume="node:/other", percentage_snapshot_reserve=1)
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.UNSETTLED, job_id)


def test_a_change_by_path_makes_earlier_requests_for_its_volume_new_ones(harness: Harness):
    _, first = _changed(harness, "one")
    node = harness.node()
    node.carry_out(first)
    # A clone does not change its source, by whichever name.
    node.carry_out(harness.accept("clone_volume", volume="copy", from_volume="node:/vol", from_snapshot="snap"))
    by_path = harness.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    assert harness.client.exists(f"{PREFIX}repeat:one")
    node.carry_out(by_path)
    assert not harness.client.exists(f"{PREFIX}repeat:one")


def test_a_change_by_path_leaves_the_same_request_of_a_later_job_as_it_is(harness: Harness):
    by_path = harness.new("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    new, node = replace(by_path, repeat=Repeat("one", 600)), harness.node()
    _, first, _ = harness.jobs.accept(new)
    harness.client.delete(f"{PREFIX}repeat:one")
    _, second, _ = harness.jobs.accept(new)
    harness.accept("create_snapshot", volume="vol", name="x")
    assert node.claims.join_ordering(node.claim(first), ["volume:vol"], {})
    assert harness.client.hget(f"{PREFIX}repeat:one", "id") == second.encode()


def test_a_request_is_forgotten_by_its_own_job_only(harness: Harness):
    _, job_id = _changed(harness, "one")
    harness.scripts.forget_repeat("one", "another-job")
    assert harness.client.exists(f"{PREFIX}repeat:one", f"{PREFIX}held:{job_id}") == 2
    harness.scripts.forget_repeat("one", job_id)
    assert not list(harness.client.scan_iter(f"{PREFIX}repeat*"))
    assert not harness.client.exists(f"{PREFIX}held:{job_id}")


def test_an_outcome_that_was_not_returned_is_kept_for_its_time(harness: Harness):
    _, job_id = _changed(harness, "one")
    assert harness.client.ttl(f"{PREFIX}repeat:one") > 600_000
    harness.node().carry_out(job_id)
    assert 500 < harness.client.ttl(f"{PREFIX}repeat:one") <= 600


# --- reads that are joined


def test_a_read_by_path_blocks_no_change(harness: Harness):
    harness.accept("get_volume", volume="node:/vol")
    assert not harness.client.exists(f"{PREFIX}unresolved:{SUBSYSTEM}")
    harness.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    assert harness.client.zcard(f"{PREFIX}unresolved:{SUBSYSTEM}") == 1


def test_a_read_that_is_joined_counts_who_waits_and_gives_all_of_them_the_whole(harness: Harness):
    new = replace(harness.new("list_volumes"), query="name=a*")
    _, job_id, _ = harness.jobs.accept(new)
    assert harness.job(job_id).cancellable
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.COALESCED, job_id)
    assert (harness.field(job_id, "waiters"), harness.field(job_id, "query")) == ("1", "name=a*")
    assert harness.jobs.cancel(job_id, "ann") == "SHARED"
    assert not harness.job(job_id).cancellable
    assert harness.jobs.accept(replace(new, query="name=b*", refresh=True))[:2] == (SubmitOutcome.COALESCED, job_id)
    assert (harness.field(job_id, "waiters"), harness.field(job_id, "query")) == ("1", "name=a*")
    assert harness.jobs.accept(replace(new, query="name=b*"))[:2] == (SubmitOutcome.COALESCED, job_id)
    assert (harness.field(job_id, "waiters"), harness.field(job_id, "query")) == ("2", "")
    harness.node().claim(job_id)
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.COALESCED, job_id)
    outcome, other, _ = harness.jobs.accept(replace(new, may_join_running=False))
    assert (outcome, other != job_id) == (SubmitOutcome.NEW, True)


@pytest.mark.parametrize("operation", ["get_snapshot", "list_volumes"])
def test_a_read_of_one_object_is_joined_until_a_change_ends(harness: Harness, operation: str):
    """To a listing of the whole storage system the changes are applied that end while it is read."""
    node, job_id = harness.node(), harness.accept(operation)
    node.claim(job_id)
    change = node.claim(harness.accept("create_volume"))
    assert harness.jobs.accept(harness.new(operation))[:2] == (SubmitOutcome.COALESCED, job_id)
    node.executor.execute(change)
    outcome, later, _ = harness.jobs.accept(harness.new(operation))
    assert (outcome, later == job_id) == (
        (SubmitOutcome.COALESCED, True) if operation == "list_volumes" else (SubmitOutcome.NEW, False)
    )
    assert harness.jobs.accept(harness.new(operation))[:2] == (SubmitOutcome.COALESCED, later)


def test_a_read_that_ends_leaves_the_mark_of_the_one_that_followed_it(harness: Harness):
    node = harness.node()
    lease = node.claim(harness.accept("list_volumes"))
    # A client that wants what is newer than the read that runs.
    _, newer, _ = harness.jobs.accept(replace(harness.new("list_volumes"), may_join_running=False))
    assert newer != lease.job_id
    node.executor.execute(lease)
    assert harness.client.get(f"{PREFIX}inflight:{SUBSYSTEM}/volumes") == newer.encode()


def test_a_read_is_skipped_when_the_copy_has_changed(harness: Harness):
    new = harness.new("list_volumes")
    cache_key = f"{PREFIX}listing:filer/volumes"
    harness.client.hset(cache_key, "as_of", 2)
    harness.client.expire(cache_key, 60)
    assert harness.jobs.accept(replace(new, seen_ms=1))[0] is SubmitOutcome.CHANGED
    assert harness.jobs.accept(replace(new, seen_ms=0))[0] is SubmitOutcome.CHANGED
    assert harness.jobs.accept(replace(new, seen_ms=2))[0] is SubmitOutcome.NEW
