"""Chunks of the index of jobs: their first jobs, what was deleted by hand, and its size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.worker.harness import PREFIX, Harness
from tests.worker.jobs.index_searches import search
from tests.worker.store.redis_views import creations
from worker.catalog.operations import OPERATIONS, Role
from worker.jobs.query import MAX_SEQ, JobFilter, JobScope, index_query
from worker.jobs.record import Job, State

_OPERATIONS = ("create_snapshot", "delete_policy", "update_volume", "get_volume")
_ENDS = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
#: Jobs lie on both sides of the border between two chunks.
_FIRST_SEQ = 8192 - 45
#: Longer than any test takes.
_KEEP_MS = 600_000
#: Numbers that no job has.
_GAP = 20


def _first_of_a_chunk(harness: Harness) -> list[str]:
    """The last job of a chunk, and the first two of the next one."""
    harness.client.set(f"{PREFIX}seq", 8190)
    ids = [harness.accept("update_volume", volume=name) for name in ("a", "b", "c")]
    assert [harness.job(job_id).seq for job_id in ids] == [8191, 8192, 8193]
    return ids


def test_the_first_job_of_a_chunk_stays_when_the_others_have_left_its_state(harness: Harness):
    last, first, second = _first_of_a_chunk(harness)
    harness.jobs.cancel(second, "ann")
    assert search(harness, JobFilter(states=(State.QUEUED,)), JobScope("ann"), 100) == [first, last]


def test_the_first_job_of_a_chunk_is_found_when_the_second_came_too_late(harness: Harness):
    last, first, second = _first_of_a_chunk(harness)
    later = harness.job(first).created_ms + 10
    entry = f"{second}{later:013d}".encode()
    harness.client.setrange(f"{PREFIX}index:1", harness.client.strlen(f"{PREFIX}index:1") // 2, entry)
    job_filter = JobFilter(created_before_ms=later)
    assert search(harness, job_filter, JobScope("ann"), 1000) == [first, last]


def test_the_jobs_since_a_time_are_in_as_many_chunks_as_there_are(harness: Harness):
    last, first, second = _first_of_a_chunk(harness)
    job_filter = JobFilter(created_after_ms=harness.job(last).created_ms - 1)
    assert search(harness, job_filter, JobScope("ann"), 1000) == [second, first, last]


def test_entries_that_were_deleted_by_hand_are_passed_over(harness: Harness):
    first, second = (harness.accept("update_volume", volume=name) for name in ("a", "b"))
    entry_bytes = harness.client.strlen(f"{PREFIX}index:0") // 3
    harness.client.setrange(f"{PREFIX}index:0", 2 * entry_bytes, b"\0" * entry_bytes)
    found, _ = harness.jobs.find(JobFilter(), JobScope("ann"), 10)
    assert [status.job.id for status in found] == [first]
    assert harness.jobs.get(second) is not None


def test_the_size_of_the_index_follows_the_number_of_jobs(harness: Harness, jobs: list[Job]):
    for job in jobs:
        if job.state is State.QUEUED:
            harness.jobs.cancel(job.id, "ann")
        elif not job.done:
            harness.scripts.finish(job.id, "token", "succeeded", {}, [], 60_000, b"", 1000, 0)
    harness.client.zadd(f"{PREFIX}expiring", dict.fromkeys([job.id for job in jobs], 1))
    assert harness.scripts.purge_expired(500) == len(jobs)
    assert harness.client.keys(f"{PREFIX}index*") == []


def test_every_operation_is_indexed(harness: Harness):
    for name in OPERATIONS:
        job_id = harness.accept(name)
        statuses, _ = harness.jobs.find(JobFilter(operations=(name,)), JobScope("ann"), 9)
        assert [status.job.id for status in statuses] == [job_id]


def test_a_batch_is_found_like_its_members(harness: Harness):
    members = [replace(harness.new("create_snapshot"), requester="bob", requester_id="id of bob")]
    batch_id = harness.batches.accept(replace(harness.new_batch(members), requester="bob"))[1]
    (member,) = harness.members(batch_id)
    everybody = JobScope(everybody=True)
    searches = [
        (JobFilter(requested_by="bob"), everybody),
        (JobFilter(requested_by="bob", states=(State.QUEUED,)), everybody),
        (JobFilter(requested_by="bob", operations=("batch", "create_snapshot")), everybody),
        (JobFilter(requested_by="bob", subsystem="filer"), everybody),
        (JobFilter(), JobScope(requester="id of bob")),
        (JobFilter(), JobScope(roles=frozenset({Role.ADMIN}))),
    ]
    for job_filter, scope in searches:
        found = [job_status.job.id for job_status in harness.jobs.find(job_filter, scope, 10)[0]]
        assert sorted(found) == sorted([batch_id, member.id]), (job_filter, scope)
    assert harness.jobs.find(JobFilter(requested_by="ann"), everybody, 10) == ([], None)


def _one_in_each_chunk(harness: Harness, *chunks: int) -> list[str]:
    """The first job of each chunk (of the oldest, the second: numbers begin at 1)."""
    job_ids = []
    for chunk in chunks:
        harness.client.set(f"{PREFIX}seq", max(0, 8192 * chunk - 1))
        job_ids.append(harness.accept("update_volume", volume=f"v{chunk}"))
    return job_ids


def test_the_jobs_before_a_time_are_in_as_many_chunks_as_there_are(harness: Harness):
    accepted = _one_in_each_chunk(harness, 0, 1, 2, 3)
    job_filter = JobFilter(created_before_ms=harness.job(accepted[-1]).created_ms + 1)
    assert search(harness, job_filter, JobScope("ann"), 1000) == accepted[::-1]


def test_rare_jobs_are_found_in_few_steps(harness: Harness):
    """As many chunks are looked at as hold what is rare, and of each the bytes that do."""
    rare = harness.accept("create_volume")
    harness.node().claim(rare)
    for number in range(1, 21):
        # In each byte of the oldest chunk, and in other chunks.
        harness.client.set(f"{PREFIX}seq", 8 * number if number <= 15 else 8192 * number)
        harness.accept("create_volume", volume=f"v{number}")
    job_filter = JobFilter(operations=("create_volume",), states=(State.RUNNING,))
    query = index_query(job_filter, JobScope("ann"), seqs=(0, MAX_SEQ), limit=10, effort=25)
    assert harness.scripts.list_jobs(query) == ([rare], None)


@pytest.mark.parametrize("by_end", [False, True])
def test_old_jobs_are_found_in_few_steps(harness: Harness, *, by_end: bool):
    old = harness.accept("create_volume")
    harness.jobs.cancel(old, "ann")
    later_ms = harness.job(old).created_ms + 60_000
    harness.accept_batch(*creations(harness, *(f"m{number}" for number in range(100))))
    entry_bytes = harness.client.strlen(f"{PREFIX}index:0") // 103
    for number in range(2, 103):
        harness.client.setrange(f"{PREFIX}index:0", number * entry_bytes + 36, f"{later_ms:013d}")
    for chunk in range(1, 21):
        harness.client.set(f"{PREFIX}seq", 8192 * chunk - 1)
        harness.jobs.cancel(harness.accept("create_volume", volume=f"v{chunk}"), "ann")
        harness.client.setrange(f"{PREFIX}index:{chunk}", 36, f"{later_ms:013d}{later_ms:013d}")
    job_filter = JobFilter(finished_before_ms=later_ms) if by_end else JobFilter(created_before_ms=later_ms)
    query = index_query(job_filter, JobScope("ann"), seqs=(0, MAX_SEQ), limit=10, effort=100)
    assert harness.scripts.list_jobs(query) == ([old], None)


def test_the_jobs_since_a_time_are_in_all_chunks_but_the_oldest(harness: Harness):
    for _ in range(4):
        harness.accept("create_policy")
        # They were accepted long ago.
        harness.client.setrange(f"{PREFIX}index:0", harness.client.strlen(f"{PREFIX}index:0") - 26, f"{1:013d}")
    newer = _one_in_each_chunk(harness, 1, 2, 3)
    assert search(harness, JobFilter(created_after_ms=1), JobScope("ann"), 1000) == newer[::-1]


def test_jobs_that_have_ended_since_a_time_come_once_page_by_page(harness: Harness):
    *_, first, second = _one_in_each_chunk(harness, 0, 1, 2, 3)
    found, below = list[str](), None
    for job_id in (first, second):
        harness.jobs.cancel(job_id, "ann")
    for _ in range(4):
        page, below = harness.jobs.find(JobFilter(finished_after_ms=1), JobScope("ann"), 1, below)
        found += [status.job.id for status in page]
        if below is None:
            break
    assert found == [second, first]
