"""The values that a job's record is turned into: ids, failures, documents, and when to ask again."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import Any

import pytest

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.catalog.operations import OPERATIONS, Role
from worker.catalog.problem_types import MOST_ERRORS
from worker.config.settings import Settings, load
from worker.jobs.document import job_document, job_path, links_below, rfc3339
from worker.jobs.failure import Failure
from worker.jobs.idempotency import IdempotencyKeys, KnownRequest, idempotency_name
from worker.jobs.ids import JobIds, is_uuid7
from worker.jobs.query import JobFilter, JobScope, key_of
from worker.jobs.record import Attempt, State
from worker.jobs.service import Jobs
from worker.jobs.status import MAX_RETRY_AFTER_S, JobStatus


@pytest.fixture
def status(harness: Harness) -> JobStatus:
    """A job that waits."""
    job_status = harness.jobs.get(harness.accept("create_volume"))
    assert job_status is not None
    return job_status


def _document(job_status: JobStatus, **changes: Any) -> dict[str, Any]:
    return job_document(replace(job_status, job=replace(job_status.job, **changes)))


# --- ids


def test_an_id_is_valid_in_one_spelling_and_with_its_secret_only():
    ids = JobIds(b"secret")
    before_ms = time.time_ns() // 1_000_000
    job_id = ids.new()
    value = uuid.UUID(job_id)
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert before_ms <= value.int >> 80 <= time.time_ns() // 1_000_000
    assert all(ids.is_ours(each) for each in (job_id, *(ids.new() for _ in range(20))))
    # As an earlier release made it.
    assert ids.is_ours("01a221fe-faea-7a99-b17f-96486fb8edbe")
    assert not JobIds(b"other").is_ours(job_id)
    # Another mark, and another number with the mark of this one: every bit counts.
    marks = [str(uuid.UUID(int=value.int ^ (1 << bit))) for bit in range(128)]
    others = (job_id.upper(), f"{{{job_id}}}", value.hex, *marks, str(uuid.uuid4()), "x", "")
    assert [other for other in others if ids.is_ours(other)] == []
    # Only these are looked up in Redis.
    assert [is_uuid7(text) for text in (job_id, marks[0], job_id.upper(), str(uuid.uuid4()), "x")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_an_idempotency_key_belongs_to_one_requester():
    assert idempotency_name("ann", "") == ""
    names = {idempotency_name(owner, key) for owner in ("ann", "bob") for key in ("k", "l")}
    assert len(names) == 4


def test_the_first_choice_under_a_key_is_stored(harness: Harness):
    keys = IdempotencyKeys(harness.client, harness.settings)
    assert (keys.find("ann:k"), keys.find("")) == (None, None)
    first = KnownRequest("hash", "", [1])
    assert keys.freeze("ann:k", "hash", [1]) == first
    assert keys.freeze("ann:k", "other", [2]) == first
    assert keys.find("ann:k") == first
    keep_s = harness.settings.idempotency_keep
    assert keep_s - 60 < harness.client.ttl(f"{PREFIX}idem:ann:k") <= keep_s


# --- documents


def test_times_are_in_utc_to_the_millisecond():
    assert rfc3339(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"


def test_each_time_is_shown_by_its_name(status: JobStatus):
    names = ("created", "started", "updated", "finished", "expires", "cancel_requested")
    document = _document(status, **{f"{name}_ms": second * 1000 for second, name in enumerate(names)})
    times = [document[f"{name}_at"] for name in names]
    assert times == [f"1970-01-01T00:00:0{second}.000Z" for second in range(len(names))]


def test_progress_is_shown_in_percent_where_the_total_is_known(status: JobStatus):
    shown = {(1, 3): 33, (999, 1000): 99, (5, 4): 100, (0, 4): 0, (2, None): None, (None, 4): None}
    assert {
        (current, total): _document(status, current=current, total=total)["progress"]["percent"]
        for current, total in shown
    } == shown


def test_unknown_fields_are_null(status: JobStatus):
    document = _document(status, requester="", subsystem="", volume="")
    assert [document[name] for name in ("requested_by", "subsystem", "batch", "result", "error", "retry_of")] == [
        None
    ] * 6
    assert "children" not in document
    assert "trace_id" not in document


def test_known_fields_are_in_the_document(status: JobStatus):
    named: dict[str, Any] = {
        "target": "/v4/filer/volumes/new", "request": {"volume": "new"}, "request_id": "r7",
        "attempt": 2, "cancellable": True, "retry_of": "j1", "batch": "b1", "backend_job": "4711", "trace_id": "0af7",
    }  # fmt: skip
    children = {"total": 2, "queued": 1, "running": 1}
    progress = {"current": 1, "total": 4, "unit": "steps", "message": "mounting"}
    status = replace(status, position=3, workers_online=2, behind=True)
    document = _document(status, **named, **progress, children=children, requester="eve")
    assert {name: document[name] for name in named} == named
    ended = _document(status, **named | {"cancellable": False}, state=State.FAILED)
    assert {name: ended[name] for name in named} == named | {"cancellable": False}
    assert document["requested_by"] == "eve"
    assert (document["id"], document["operation"], document["state"], document["done"], document["subsystem"]) == (
        status.job.id, "create_volume", "queued", False, SUBSYSTEM,
    )  # fmt: skip
    assert document["queue"] == {
        "name": f"{SUBSYSTEM}.write", "position": 3, "workers_online": 2, "waiting_reason": "behind-jobs",
    }  # fmt: skip
    assert (document["progress"], document["children"]) == ({"percent": 25, **progress}, children)
    path = f"/v4/jobs/{status.job.id}"
    assert document["links"] == {"self": path, "result": f"{path}/result", "cancel": f"{path}/cancel"}


def test_links_are_below_the_prefix_inside_the_block_alone(status: JobStatus):
    path = f"/v4/jobs/{status.job.id}"
    with links_below("/storage"):
        assert _document(status)["links"]["self"] == f"/storage{path}"
        assert job_path("a/b") == "/storage/v4/jobs/a%2Fb"
    assert _document(status)["links"]["self"] == path


def test_the_age_of_an_in_doubt_change_counts_from_its_last_intent(status: JobStatus):
    job = replace(status.job, started_ms=1000, marked_ms=5000)
    assert [each.journal_state(6500).age_s for each in (job, replace(job, marked_ms=None))] == [1.5, 0]


def test_attempts_are_shown_in_seconds(status: JobStatus):
    (attempt,) = _document(status, attempts=(Attempt(1_700_000_000_000, "c", "d", 1500),))["attempts"]
    assert attempt == {"at": "2023-11-14T22:13:20.000Z", "code": "c", "detail": "d", "retry_in_s": 1.5}


def test_a_result_is_shown_of_what_has_succeeded_as_a_whole(status: JobStatus):
    status = replace(status, result=b'{"name": "vol"}')
    assert _document(status, state=State.FAILED)["result"] is None
    result = _document(status, state=State.SUCCEEDED)["result"]
    assert (result["status"], result["value"]) == (201, {"name": "vol"})
    assert "value" not in _document(status, state=State.SUCCEEDED, query="limit=1")["result"]
    links = job_document(replace(status, job=replace(status.job, state=State.SUCCEEDED)), "limit=1")["links"]
    assert links["result"] == f"/v4/jobs/{status.job.id}/result?limit=1"


def test_a_failure_is_shown_as_a_problem_with_a_known_code(status: JobStatus):
    errors = tuple({"pointer": f"/{number}", "detail": "d"} for number in range(MOST_ERRORS + 5))
    problem = _document(status, state=State.FAILED, failure=Failure("of-the-future", "no", errors=errors))["error"]
    assert (problem["code"], problem["status"], problem["type"]) == ("backend-error", 502, "/problems/backend-error")
    assert problem["errors"] == list(errors[:MOST_ERRORS])
    assert (problem["instance"], problem["request_id"]) == (f"/v4/jobs/{status.job.id}", "r")
    assert "backend_error" not in problem
    words = {"code": "917927", "message": "The volume is busy."}
    failure = Failure("backend-error", "no", retryable=True, backend_error=words)
    problem = _document(status, state=State.FAILED, failure=failure)["error"]
    assert (problem["retryable"], problem["backend_error"]) == (True, words)


# --- when to ask again


def test_waiting_reasons(status: JobStatus):
    cases = [
        (replace(status, job=replace(status.job, waiting_reason="retrying")), "retrying"),
        (replace(status, workers_online=0, behind=True), "no-worker-online"),
        (replace(status, workers_online=1, behind=True), "behind-jobs"),
        (replace(status, workers_online=1), None),
        (replace(status, job=replace(status.job, state=State.RUNNING), behind=True), None),
    ]
    assert [job_status.waiting_reason for job_status, _ in cases] == [reason for _, reason in cases]


def test_a_waiting_job_is_expected_after_those_before_it(status: JobStatus):
    waits = [
        replace(status, mean_run_ms=mean_ms, position=position).retry_after_s
        for mean_ms, position in ((0, 0), (2000, 3), (60_000, 9))
    ]
    assert waits == [1, 8, 60]


def test_a_running_job_is_expected_by_its_progress_or_by_the_mean_of_such_jobs(status: JobStatus):
    running = replace(status.job, state=State.RUNNING, started_ms=status.now_ms - 10_000)
    by_mean = [replace(status, job=running, mean_run_ms=mean_ms).retry_after_s for mean_ms in (5000, 14_000, 900_000)]
    assert by_mean == [1, 4, MAX_RETRY_AFTER_S]
    # Steps without a total, and a total of which nothing is done, give no estimate.
    for current, total in ((2, None), (0, 4), (None, 4)):
        unknown = replace(running, current=current, total=total)
        assert replace(status, job=unknown, mean_run_ms=14_000).retry_after_s == 4
    # A quarter took ten seconds, so the rest takes thirty.
    quarter = replace(running, current=1, total=4)
    assert replace(status, job=quarter, mean_run_ms=900_000).retry_after_s == 30
    assert replace(status, job=replace(running, current=5, total=4)).retry_after_s == 1


@pytest.mark.parametrize(("mean_ms", "wait_s"), [(None, 13), (1, 1), (1_000_000, MAX_RETRY_AFTER_S)])
def test_when_a_full_queue_may_take_jobs_again(harness: Harness, mean_ms: int | None, wait_s: int):
    if mean_ms is not None:
        harness.client.hset(f"{PREFIX}mean_durations:{SUBSYSTEM}", "create_volume", mean_ms)
    publisher: Any = harness.publisher
    settings = load(Settings, SAPI_DEBUG=True, queue_limit=1000, write_slots=8)
    jobs = Jobs(harness.client, harness.scripts, harness.jobs.ids, publisher, settings)
    assert jobs.queue_retry_after_s(SUBSYSTEM, OPERATIONS["create_volume"]) == wait_s


# --- whose job it is, and which are found


def test_a_job_belongs_to_its_users_id_whatever_their_name(harness: Harness):
    new = replace(harness.new("create_volume"), requester="ann", requester_id="id-7")
    job = harness.job(harness.jobs.accept(new)[1])
    assert [job.is_of(key_of(text)) for text in ("id-7", "ann", "")] == [True, False, False]
    assert not replace(job, requester_key="").is_of("")
    anonymous = replace(new, requester="", requester_id="")
    assert anonymous.owner_key == ""


def test_jobs_that_are_named_by_their_ids_are_those_that_fit_the_newest_first(harness: Harness):
    ids = [harness.accept("create_volume", volume=f"v{number}") for number in range(3)]
    harness.jobs.cancel(ids[1], "ann")
    job_filter = JobFilter(ids=tuple(ids), states=(State.QUEUED,))
    for limit, below, expected, has_more in ((9, None, [ids[2], ids[0]], False), (1, None, [ids[2]], True),
                                             (1, 3, [ids[0]], False), (2, None, [ids[2], ids[0]], False)):  # fmt: skip
        statuses, cursor = harness.jobs.find(job_filter, JobScope("ann"), limit, below)
        assert [job_status.job.id for job_status in statuses] == expected
        assert cursor == (statuses[-1].job.seq if has_more else None)


# --- who may see a job, and what fits a filter

_BOTH = frozenset({Role.USER, Role.ADMIN})


@pytest.mark.parametrize(
    ("scope", "needed", "is_seen"),
    [
        (JobScope("ann"), _BOTH, True),
        (JobScope("bob"), _BOTH, False),
        (JobScope(""), _BOTH, False),
        (JobScope("bob", _BOTH), _BOTH, True),
        (JobScope("bob", frozenset(Role)), _BOTH, True),
        (JobScope("bob", frozenset({Role.ADMIN})), _BOTH, False),
        (JobScope("bob", frozenset({Role.USER})), frozenset({Role.USER}), True),
        (JobScope("bob"), frozenset(), False),
        (JobScope("bob", everybody=True), _BOTH, True),
    ],
)
def test_a_job_is_seen_by_its_requester_and_by_those_with_all_its_roles(
    status: JobStatus, scope: JobScope, needed: frozenset[Role], is_seen: bool
):
    job = replace(status.job, requester_key=key_of("ann"), roles=needed)
    assert scope.includes(job) is is_seen


@pytest.mark.parametrize(
    ("job_filter", "fits"),
    [
        (JobFilter(), True),
        (JobFilter(requested_by="ann"), True),
        (JobFilter(requested_by="bob"), False),
        (JobFilter(operations=("create_volume", "delete_volume")), True),
        (JobFilter(operations=("delete_volume",)), False),
        (JobFilter(subsystem="another"), False),
        (JobFilter(volume="another"), False),
        (JobFilter(batch="another"), False),
        (JobFilter(states=(State.QUEUED, State.RUNNING)), True),
        (JobFilter(states=(State.FAILED,)), False),
        (JobFilter(ids=("another",)), False),
        (JobFilter(created_after_ms=999, created_before_ms=1001), True),
        (JobFilter(created_after_ms=1000), False),
        (JobFilter(created_before_ms=1000), False),
        (JobFilter(finished_after_ms=1), False),
        (JobFilter(finished_before_ms=10**15), False),
    ],
)
def test_a_job_that_is_read_by_its_id_must_fit_the_filter(status: JobStatus, job_filter: JobFilter, fits: bool):
    job = replace(status.job, requester="ann", volume="v", created_ms=1000, finished_ms=None)
    assert job_filter.matches(job) is fits
