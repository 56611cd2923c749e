"""The index of jobs finds what a look at every record would find, whatever is asked for."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import pytest

from tests.worker.harness import PREFIX, Harness
from worker.catalog.operations import OPERATIONS, Role
from worker.jobs.query import MAX_SEQ, JobFilter, JobScope, index_query
from worker.jobs.record import Job, State
from worker.store.results import SubmitOutcome

_OPERATIONS = ("create_snapshot", "delete_policy", "update_volume", "get_volume")
_ENDS = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
#: Jobs lie on both sides of the border between two chunks.
_FIRST_SEQ = 8192 - 45
#: Longer than any test takes.
_KEEP_MS = 600_000
#: Numbers that no job has.
_GAP = 20


def _accept(harness: Harness, chosen: random.Random, number: int) -> str:
    operation = chosen.choice(_OPERATIONS)
    arguments: dict[str, Any] = {"policy": f"p{number}"} if operation == "delete_policy" else {"volume": f"v{number}"}
    if operation == "create_snapshot":
        arguments["name"] = "s"
    new = harness.new(operation, **arguments)
    requester = chosen.choice(("ann", "bob", ""))
    new = replace(
        new,
        requester=requester,
        requester_id="id of bob" if requester == "bob" else "",
        subsystem=chosen.choice(("filer", "other")),
        volume=chosen.choice(("", "vol", "war")),
    )
    outcome, job_id, _ = harness.jobs.accept(new)
    assert outcome is SubmitOutcome.NEW
    return job_id


def _end_some(harness: Harness, chosen: random.Random, ids: list[str]) -> None:
    for job_id in ids:
        what = chosen.randrange(4)
        if what == 0:
            continue
        if what == 1:
            harness.jobs.cancel(job_id, "ann")
            continue
        harness.scripts.claim(job_id, "token", 15_000, 600_000, 600_000)
        if what == 3:
            state = chosen.choice(_ENDS)
            harness.scripts.finish(job_id, "token", state, {"error_code": "no"}, [], _KEEP_MS, b"", 1000, 0)


@pytest.fixture
def jobs(harness: Harness) -> list[Job]:
    """Fifty jobs in every state, the newest first."""
    chosen = random.Random(7)
    harness.client.set(f"{PREFIX}seq", _FIRST_SEQ)
    ids = [_accept(harness, chosen, number) for number in range(15)]
    harness.client.incrby(f"{PREFIX}seq", _GAP)
    ids += [_accept(harness, chosen, number) for number in range(15, 50)]
    _end_some(harness, chosen, ids)
    assert harness.job(ids[-1]).seq == _FIRST_SEQ + _GAP + 50
    return [harness.job(job_id) for job_id in reversed(ids)]


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


def _search(harness: Harness, job_filter: JobFilter, scope: JobScope, effort: int, limit: int = 100) -> list[str]:
    """The ids alone, without the records; there are fewer than ``limit``."""
    job_ids: list[str] = []
    below: int | None = MAX_SEQ
    while below is not None:
        query = index_query(job_filter, scope, seqs=(0, below), limit=limit - len(job_ids), effort=effort)
        ids, below = harness.scripts.list_jobs(query)
        job_ids += ids
    return job_ids


@pytest.mark.parametrize(("effort", "every"), [(60, 7), (10_000, 1)])
def test_it_finds_what_fits_and_nothing_else(harness: Harness, jobs: list[Job], effort: int, every: int):
    found_some = 0
    for job_filter in _queries(jobs)[::every]:
        for scope in _SCOPES:
            expected = [job.id for job in jobs if scope.includes(job) and job_filter.matches(job)]
            assert _search(harness, job_filter, scope, effort) == expected, (job_filter, scope)
            found_some += bool(expected)
    assert found_some > 200 / every


def test_it_goes_by_pages(harness: Harness, jobs: list[Job]):
    job_filter, scope = JobFilter(states=(State.QUEUED, State.SUCCEEDED)), JobScope(everybody=True)
    job_ids: list[str] = []
    below: int | None = None
    while True:
        page, below = harness.jobs.find(job_filter, scope, 4, below)
        job_ids += [status.job.id for status in page]
        if below is None:
            break
        assert len(page) == 4
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
    assert _search(harness, job_filter, JobScope("ann"), 10_000) == rare[::-1]


def test_a_search_goes_on_behind_chunks_in_which_nothing_fits(harness: Harness):
    volumes = []
    for chunk in range(3):
        harness.client.set(f"{PREFIX}seq", 8192 * chunk)
        volumes.append(harness.accept("create_volume", volume=f"v{chunk}"))
        harness.accept("create_policy", policy=f"p{chunk}", rules=[])
    for job_id in volumes[1:]:
        harness.node().claim(job_id)
    job_filter = JobFilter(operations=("create_volume",), states=(State.QUEUED,))
    assert _search(harness, job_filter, JobScope("ann"), effort=1) == volumes[:1]


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
    assert _search(harness, job_filter, JobScope(everybody=True), effort, limit=9) == expected


def test_others_jobs_are_not_found_by_their_ids(harness: Harness):
    job_id = harness.accept("create_volume")
    assert [status.job.id for status in harness.jobs.find(JobFilter(ids=(job_id,)), JobScope("ann"), 9)[0]] == [job_id]
    assert harness.jobs.find(JobFilter(ids=(job_id,)), JobScope("bob"), 9)[0] == []


def test_a_batch_is_found_by_who_has_the_roles_of_all_its_members(harness: Harness):
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
        assert [status.job.id for status in statuses] == _search(harness, job_filter, JobScope(everybody=True), 10_000)
    batch_id = harness.accept_batch(replace(harness.new("create_volume", volume="member"), volume="vol"))
    (member,) = harness.members(batch_id)
    everywhere = JobScope(everybody=True)
    assert _search(harness, JobFilter(batch=batch_id), everywhere, 10_000) == [member.id]
    assert _search(harness, JobFilter(batch=batch_id, volume="vol"), everywhere, 10_000) == [member.id]
    statuses, _ = harness.jobs.find(JobFilter(ids=(member.id, *ids), batch=batch_id), JobScope(everybody=True), 100)
    assert [status.job.id for status in statuses] == [member.id]


def test_what_is_forgotten_is_found_no_more(harness: Harness, jobs: list[Job]):
    ended = [job for job in jobs if job.done]
    harness.client.zadd(f"{PREFIX}expiring", dict.fromkeys([job.id for job in ended], 1))
    assert harness.scripts.purge_expired(500) == len(ended) > 10
    statuses, _ = harness.jobs.find(JobFilter(), JobScope(everybody=True), 100)
    assert [status.job.id for status in statuses] == [job.id for job in jobs if not job.done]


def _first_of_a_chunk(harness: Harness) -> list[str]:
    """The last job of a chunk, and the first two of the next one."""
    harness.client.set(f"{PREFIX}seq", 8190)
    ids = [harness.accept("update_volume", volume=name) for name in ("a", "b", "c")]
    assert [harness.job(job_id).seq for job_id in ids] == [8191, 8192, 8193]
    return ids


def test_the_first_job_of_a_chunk_stays_when_the_others_have_left_its_state(harness: Harness):
    last, first, second = _first_of_a_chunk(harness)
    harness.jobs.cancel(second, "ann")
    assert _search(harness, JobFilter(states=(State.QUEUED,)), JobScope("ann"), 100) == [first, last]


def test_the_first_job_of_a_chunk_is_found_when_the_second_came_too_late(harness: Harness):
    last, first, second = _first_of_a_chunk(harness)
    later = harness.job(first).created_ms + 10
    entry = f"{second}{later:013d}".encode()
    harness.client.setrange(f"{PREFIX}index:1", harness.client.strlen(f"{PREFIX}index:1") // 2, entry)
    job_filter = JobFilter(created_before_ms=later)
    assert _search(harness, job_filter, JobScope("ann"), 1000) == [first, last]


def test_the_jobs_since_a_time_are_in_as_many_chunks_as_there_are(harness: Harness):
    last, first, second = _first_of_a_chunk(harness)
    job_filter = JobFilter(created_after_ms=harness.job(last).created_ms - 1)
    assert _search(harness, job_filter, JobScope("ann"), 1000) == [second, first, last]


def test_entries_that_were_deleted_by_hand_are_passed_over(harness: Harness):
    first, second = (harness.accept("update_volume", volume=name) for name in ("a", "b"))
    entry_bytes = harness.client.strlen(f"{PREFIX}index:0") // 3
    harness.client.setrange(f"{PREFIX}index:0", 2 * entry_bytes, b"\0" * entry_bytes)
    found, _ = harness.jobs.find(JobFilter(), JobScope("ann"), 10)
    assert [status.job.id for status in found] == [first]
    assert harness.jobs.get(second) is not None


def test_it_is_as_large_as_there_are_jobs(harness: Harness, jobs: list[Job]):
    for job in jobs:
        if job.state is State.QUEUED:
            harness.jobs.cancel(job.id, "ann")
        elif not job.done:
            harness.scripts.finish(job.id, "token", "succeeded", {}, [], 60_000, b"", 1000, 0)
    harness.client.zadd(f"{PREFIX}expiring", dict.fromkeys([job.id for job in jobs], 1))
    assert harness.scripts.purge_expired(500) == len(jobs)
    assert harness.client.keys(f"{PREFIX}index*") == []


def test_every_operation_is_in_it(harness: Harness):
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
