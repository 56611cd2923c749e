"""The index of jobs finds the same jobs as a filter of all records, for every query."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import pytest

from tests.worker.harness import PREFIX, Harness
from tests.worker.jobs.index_searches import search
from worker.catalog.operations import Role
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


def _queries(jobs: list[Job]) -> list[JobFilter]:
    # Of a job of a volume, since these are searched in another way.
    middle = next(job.created_ms for job in jobs[25:] if job.volume == "vol")
    ends = sorted(job.finished_ms for job in jobs if job.finished_ms)
    singles: list[dict[str, Any]] = [
        {},
        *({"states": (state,)} for state in State),
        {"states": (State.QUEUED, State.FAILED)},
        *({"operations": (name,)} for name in _OPERATIONS),
        {"operations": tuple(_OPERATIONS[:2])},
        {"operations": tuple(_OPERATIONS)},
        {"subsystem": "other"},
        {"volume": "vol"},
        {"requested_by": "bob"},
        {"created_after_ms": middle},
        {"created_before_ms": middle},
        {"finished_after_ms": ends[len(ends) // 2]},
        {"finished_before_ms": ends[len(ends) // 2]},
        {"finished_after_ms": ends[0], "finished_before_ms": ends[-1]},
        {"created_before_ms": 1},
        {"subsystem": "nowhere"},
    ]
    return [JobFilter(**one | other) for one, other in combinations_with_replacement(singles, 2)]


_SCOPES = [
    JobScope(everybody=True),
    JobScope("ann"),
    JobScope("id of bob", frozenset({Role.ADMIN})),
    JobScope("", frozenset({Role.USER, Role.UBER_ADMIN})),
]


@pytest.mark.parametrize(("effort", "every"), [(60, 7), (10_000, 1)])
def test_a_search_finds_exactly_the_matching_jobs(harness: Harness, jobs: list[Job], effort: int, every: int):
    found_some = 0
    for job_filter in _queries(jobs)[::every]:
        for scope in _SCOPES:
            expected = [job.id for job in jobs if scope.includes(job) and job_filter.matches(job)]
            assert search(harness, job_filter, scope, effort) == expected, (job_filter, scope)
            found_some += bool(expected)
    assert found_some > 200 / every


def test_a_search_is_paginated(harness: Harness, jobs: list[Job]):
    job_filter, scope = JobFilter(states=(State.QUEUED, State.SUCCEEDED)), JobScope(everybody=True)
    job_ids: list[str] = []
    below: int | None = None
    while True:
        page, below = harness.jobs.find(job_filter, scope, 4, below)
        job_ids += [status.job.id for status in page]
        if below is None:
            break
        assert len(page) == 4
    assert len(page) <= 4
    assert job_ids == [job.id for job in jobs if job_filter.matches(job)]
    assert len(job_ids) > 10


@pytest.mark.parametrize("volume", ["", "vol"])
def test_one_call_takes_no_more_steps_than_it_may(harness: Harness, jobs: list[Job], volume: str):
    job_filter, scope = JobFilter(volume=volume, subsystem="filer"), JobScope(everybody=True)
    ids, below = harness.scripts.list_jobs(index_query(job_filter, scope, seqs=(0, MAX_SEQ), limit=100, effort=20))
    matching = [job.id for job in jobs if job_filter.matches(job)]
    assert 0 < len(ids) < min(8, len(matching))
    assert ids == matching[: len(ids)]
    assert below is not None


def test_jobs_of_several_rare_properties_in_one_chunk_are_found_once(harness: Harness):
    for chunk in range(4):
        harness.client.set(f"{PREFIX}seq", 8192 * chunk)
        harness.accept("create_volume", volume=f"v{chunk}")
    rare = [harness.accept(operation) for operation in ("create_policy", "delete_policy")]
    statuses, _ = harness.jobs.find(JobFilter(operations=("create_policy", "delete_policy")), JobScope("ann"), 9)
    assert [status.job.id for status in statuses] == rare[::-1]


def test_the_newest_come_first_whichever_property_names_their_chunk(harness: Harness):
    rare = []
    for chunk, operation in enumerate(("create_policy", "delete_policy", "create_policy")):
        harness.client.set(f"{PREFIX}seq", 8192 * chunk)
        rare.append(harness.accept(operation))
    for chunk in range(3, 8):
        harness.client.set(f"{PREFIX}seq", 8192 * chunk)
        harness.accept("create_volume", volume=f"v{chunk}")
    job_filter = JobFilter(operations=("create_policy", "delete_policy"))
    assert search(harness, job_filter, JobScope("ann"), 10_000) == rare[::-1]


def test_a_search_goes_on_behind_chunks_in_which_nothing_fits(harness: Harness):
    volumes = []
    for chunk in range(3):
        harness.client.set(f"{PREFIX}seq", 8192 * chunk)
        volumes.append(harness.accept("create_volume", volume=f"v{chunk}"))
        harness.accept("create_policy", policy=f"p{chunk}", rules=[])
    for job_id in volumes[1:]:
        harness.node().claim(job_id)
    job_filter = JobFilter(operations=("create_volume",), states=(State.QUEUED,))
    assert search(harness, job_filter, JobScope("ann"), effort=1) == volumes[:1]
    query = index_query(job_filter, JobScope("ann"), seqs=(0, MAX_SEQ), limit=9, effort=1)
    # One call looks at one of them.
    assert harness.scripts.list_jobs(query) == ([], 2 * 8192)


@pytest.mark.parametrize("effort", [5, 10_000])
def test_a_search_of_a_volume_goes_on_behind_jobs_of_others(harness: Harness, effort: int):
    def accepted(count: int, requester: str) -> list[str]:
        new = replace(harness.new("create_snapshot"), volume="vol", requester=requester)
        return [harness.jobs.accept(new)[1] for _ in range(count)]

    for job_id in accepted(12, "ann"):
        harness.jobs.cancel(job_id, "ann")
    expected = accepted(1, "bob")
    accepted(12, "ann")
    job_filter = JobFilter(volume="vol", requested_by="bob")
    assert search(harness, job_filter, JobScope(everybody=True), effort, limit=9) == expected
    query = index_query(job_filter, JobScope(everybody=True), seqs=(0, MAX_SEQ), limit=9, effort=effort)
    # With little effort one call does not come that far.
    assert harness.scripts.list_jobs(query)[0] == (expected if effort > 5 else [])


def test_others_jobs_are_not_found_by_their_ids(harness: Harness):
    job_id = harness.accept("create_volume")
    assert [status.job.id for status in harness.jobs.find(JobFilter(ids=(job_id,)), JobScope("ann"), 9)[0]] == [job_id]
    assert harness.jobs.find(JobFilter(ids=(job_id,)), JobScope("bob"), 9)[0] == []
    matching = [ids for ids in ((), (job_id,), ("another",)) if JobFilter(ids=ids).matches(harness.job(job_id))]
    assert matching == [(), (job_id,)]


def test_a_batch_is_found_with_the_roles_of_all_its_members(harness: Harness):
    batch_id = harness.accept_batch(harness.new("create_snapshot"), harness.new("update_volume"))
    needed = harness.job(batch_id).roles
    assert needed == {Role.ADMIN, Role.UBER_ADMIN}
    for roles in ({Role.ADMIN}, {Role.UBER_ADMIN}, needed, {*Role}):
        for job_filter in (JobFilter(operations=("batch",)), JobFilter(ids=(batch_id,))):
            found = harness.jobs.find(job_filter, JobScope("bob", frozenset(roles)), 9)[0]
            assert [status.job.id for status in found] == ([batch_id] if needed <= roles else []), (roles, job_filter)


def test_ids_are_one_condition_among_others(harness: Harness, jobs: list[Job]):
    ids = tuple(job.id for job in reversed(jobs))
    newest = harness.jobs.find(JobFilter(ids=ids), JobScope(everybody=True), 3)[0]
    assert [status.job.id for status in newest] == [job.id for job in jobs[:3]]
    for job_filter in _queries(jobs)[::11]:
        statuses, _ = harness.jobs.find(replace(job_filter, ids=ids), JobScope(everybody=True), 100)
        assert [status.job.id for status in statuses] == search(harness, job_filter, JobScope(everybody=True), 10_000)
    batch_id = harness.accept_batch(replace(harness.new("create_volume", volume="member"), volume="vol"))
    (member,) = harness.members(batch_id)
    everywhere = JobScope(everybody=True)
    assert search(harness, JobFilter(batch=batch_id), everywhere, 10_000) == [member.id]
    assert search(harness, JobFilter(batch=batch_id, volume="vol"), everywhere, 10_000) == [member.id]
    statuses, _ = harness.jobs.find(JobFilter(ids=(member.id, *ids), batch=batch_id), JobScope(everybody=True), 100)
    assert [status.job.id for status in statuses] == [member.id]


def test_purged_jobs_are_not_found(harness: Harness, jobs: list[Job]):
    ended = [job for job in jobs if job.done]
    harness.client.zadd(f"{PREFIX}expiring", dict.fromkeys([job.id for job in ended], 1))
    assert harness.scripts.purge_expired(500) == len(ended) > 10
    statuses, _ = harness.jobs.find(JobFilter(), JobScope(everybody=True), 100)
    assert [status.job.id for status in statuses] == [job.id for job in jobs if not job.done]
