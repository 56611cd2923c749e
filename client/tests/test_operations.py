"""What the operations send: jobs, batches, events."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from flows import JOB, LOST, REFUSED, answer, problem, run
from storage_api_client.errors import (
    BatchFailed,
    JobFailed,
    NotAuthorised,
    NotFound,
    OutcomeUnknown,
    Refused,
    StillRunning,
    Unavailable,
)
from storage_api_client.models import JobRecord
from storage_api_client.operations import volumes
from storage_api_client.operations.batches import EACH, BatchMembers, for_each
from storage_api_client.operations.jobs import (
    JobFilter,
    cancel,
    cancel_in_bulk,
    filter_query,
    retry_in_bulk,
    retry_job,
    settle,
)
from storage_api_client.protocol.batches import await_batch, run_batch
from storage_api_client.protocol.changes import Change, Options
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.events import events
from storage_api_client.protocol.messages import ConnectionLost, Response
from storage_api_client.protocol.retries import Context


def test_a_filter_is_a_query() -> None:
    moment = datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=1)))
    chosen = {"all": True, "state": ["failed", "cancelled"], "volume": "v", "created_after": moment, "id": ("1",)}
    assert filter_query(chosen) == (
        ("all", "true"), ("state", "failed,cancelled"), ("volume", "v"), ("created_after", "2026-01-02T02:00:00Z"),
        ("id", "1"),
    )  # fmt: skip
    assert filter_query({"all": False, "operation": None}) == ()
    assert filter_query({"finished_before": "2026-01-02"}) == (("finished_before", "2026-01-02T00:00:00Z"),)


@pytest.mark.parametrize("name", sorted(JobFilter.__annotations__.keys() - {"all"}))
@pytest.mark.parametrize("empty", ["", ()])
def test_a_condition_that_is_empty_does_not_choose_all_jobs(name: str, empty: Any) -> None:
    for bulk_request in (cancel_in_bulk, retry_in_bulk):
        with pytest.raises(Refused, match=f"{name}.* is empty"):
            run(bulk_request(Context(), {"state": "queued", name: empty}, None))


@pytest.mark.parametrize(
    ("text", "after_s"),
    [("2", 2), ("0", 0), ("", None), ("-1", None), ("1.5", None), ("٣", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)
def test_retry_after_is_a_number_of_seconds(text: str, after_s: float | None) -> None:
    assert Response(503, {"retry-after": text}).retry_after_s == after_s


class TestJobs:
    """Cancelling, settling, retrying."""

    @pytest.mark.parametrize("state", ["cancelling", "cancelled"])
    def test_cancelling_a_cancelled_job_succeeds(self, state: str) -> None:
        too_late = problem(409, "job-not-cancellable")
        job, sent, _ = run(cancel(Context(), "1", 9), too_late, answer(200, JOB | {"state": state}))
        assert (job.state, [(one.method, one.path) for one in sent]) == (
            state, [("POST", "/v4/jobs/1/cancel"), ("GET", "/v4/jobs/1")],
        )  # fmt: skip

    @pytest.mark.parametrize("state", ["running", "succeeded", "failed"])
    def test_a_job_that_cannot_be_cancelled_is_reported(self, state: str) -> None:
        with pytest.raises(Refused) as refusal:
            run(cancel(Context(), "1", 9), problem(409, "job-not-cancellable"), answer(200, JOB | {"state": state}))
        assert refusal.value.code == "job-not-cancellable"
        with pytest.raises(NotFound):
            run(cancel(Context(), "1", 9), problem(404, "no-such-job"))

    def test_settle_sends_the_outcome(self) -> None:
        for outcome in ("succeeded", "failed", "unknown"):
            _, (sent,), _ = run(settle(Context(), "1", outcome, 9), answer(200, JOB))
            assert (sent.path, sent.body) == ("/v4/jobs/1/settle", {"outcome": outcome})

    def test_retry_is_a_change(self) -> None:
        again = retry_job("a/b")
        assert (again.method, again.path, again.body) == ("POST", "/v4/jobs/a%2Fb/retry", {})

    def test_several_jobs_in_one_request(self) -> None:
        refused = [{"id": "2", "code": "job-not-cancellable"}]
        flow: Any = cancel_in_bulk(Context(), {"all": True, "volume": "v"}, 9)
        done, (sent,), _ = run(flow, answer(200, {"cancelled": ["1"], "refused": refused}))
        assert (sent.method, sent.path, sent.body) == ("POST", "/v4/jobs/cancel", {"all": True, "volume": "v"})
        assert (done.done, done.refused) == (("1",), tuple(refused))
        flow = retry_in_bulk(Context(), {"state": "failed"}, 9)
        done, (sent,), _ = run(flow, answer(200, {"retried": ["3"]}))
        assert (sent.path, sent.body, done.done, done.refused) == ("/v4/jobs/retry", {"state": "failed"}, ("3",), ())

    def test_bulk_requests_are_repeated_with_the_same_key(self) -> None:
        _, sent, _ = run(cancel_in_bulk(Context(), {"volume": "v"}, 9), LOST, answer(200, {"cancelled": []}))
        assert len(sent) == 2
        keys: list[list[str]] = []
        for key in (None, "k"):
            _, sent, _ = run(retry_in_bulk(Context(), {"volume": "v"}, 9, key), LOST, answer(200, {"retried": []}))
            keys.append([request.headers["Idempotency-Key"] for request in sent])
        assert keys[0][0] == keys[0][1] != "k"
        assert keys[1] == ["k", "k"]
        with pytest.raises(Refused, match="printable ASCII"):
            run(retry_in_bulk(Context(), {"volume": "v"}, 9, "\n"))
        with pytest.raises(OutcomeUnknown) as unknown:
            run(retry_in_bulk(Context(), {"volume": "v"}, 0, "k"), LOST)
        assert unknown.value.idempotency_key == "k"


class TestBatches:
    """Batches of changes."""

    def test_members_are_numbered(self) -> None:
        batch = BatchMembers("patch-day", "stop", 3)
        assert [batch.create("s", "a", size_total="1kB"), batch.restrict("s", "b"),
                batch.snapshot("s", "c", "n", purge_old_if_needed=True)] == [0, 1, 2]  # fmt: skip
        assert (len(batch), batch.order) == (3, {
            "on_failure": "stop", "name": "patch-day", "parallel": 3,
            "requests": [
                {"method": "POST", "path": "/v4/s/volumes/a", "body": {"size_total": 1000}},
                {"method": "DELETE", "path": "/v4/s/volumes/b"},
                {"method": "POST", "path": "/v4/s/volumes/c/snapshots/n", "body": {"purge_old_if_needed": True}},
            ],
        })  # fmt: skip
        with pytest.raises(Refused):
            _ = BatchMembers(None, "continue", None).order

    def test_a_change_of_each_volume_names_it(self) -> None:
        order = for_each("s", {"name": "db*"}, volumes.create_snapshot("s", EACH, "pre"))
        assert order == {
            "for_each": {"subsystem": "s", "where": "name=db*"},
            "request": {"method": "POST", "path": "/v4/s/volumes/{name}/snapshots/pre", "body": {}},
        }

    @pytest.mark.parametrize(
        ("end", "code"),
        [
            ({"state": "succeeded"}, None),
            ({"state": "failed", "error": {"code": "members-failed"}}, "members-failed"),
            ({"state": "cancelled"}, "job-cancelled"),
        ],
    )
    def test_the_end_of_a_batch_has_its_members(self, end: dict[str, Any], code: str | None) -> None:
        ended = answer(200, JOB | {"done": True, "links": {"result": "/v4/jobs/1/result?all"}} | end)
        members = answer(200, [{"job": "2", "status": 201}, {"job": "3", "status": 409, "problem": {"code": "x"}}])
        change = Change("POST", "/v4/batches", lambda body: body, {})
        flow = run_batch(Context(), change, Options(9))
        if code is None:
            results, sent, _ = run(flow, answer(202, JOB), ended, members)
            assert [result.succeeded for result in results] == [True, False]
            assert sent[-1].path == "/v4/jobs/1/result?all"
            return
        with pytest.raises(BatchFailed) as failure:
            run(flow, answer(202, JOB), ended, members)
        assert (failure.value.code, [result.job for result in failure.value.results]) == (code, ["2", "3"])

    def test_an_accepted_batch_is_known_during_an_outage(self) -> None:
        flow = run_batch(Context(), Change("POST", "/v4/batches", lambda body: body, {}), Options(0))
        with pytest.raises(Unavailable) as failure:
            run(flow, answer(202, JOB), LOST)
        assert failure.value.job is not None
        assert failure.value.job.id == "1"

    def test_a_running_batch_is_returned_as_last_read(self) -> None:
        flow = run_batch(Context(), Change("POST", "/v4/batches", lambda body: body, {}), Options(0))
        with pytest.raises(StillRunning) as failure:
            run(flow, answer(202, JOB | {"state": "queued"}), answer(200, JOB))
        assert failure.value.job is not None
        assert failure.value.job.state == "running"

    def test_a_batch_without_a_result_ends(self) -> None:
        ended = answer(200, JOB | {"done": True, "state": "succeeded"})
        assert run(await_batch(Context(), "1", Deadline(9)), ended, answer(200))[0] == ()


class TestEvents:
    """Resumed after a lost connection, from the last event."""

    def test_events_are_resumed_without_repetition(self) -> None:
        said: list[str] = []
        flow = events(Context(notify=said.append), (("volume", "v"),), after="1", timeout=60)
        cut = ConnectionLost("Cut", sent=True)
        text = b'event: job\nid: 2\ndata: {"id": "a", "state": "running"}\n\nid: 3\n\n'
        emitted, sent, pauses = run(flow, REFUSED, REFUSED, answer(200), text, b"event: job\nid: 4", cut, answer(200),
                                    b"", problem(503, "full", retry_after="7"), answer(200))  # fmt: skip
        assert [(event.id, event.kind, event.job.state) for event in emitted] == [("2", "job", "running")]
        assert [one.headers.get("Last-Event-ID") for one in sent] == ["1", "1", "1", "3", "3", "3"]
        assert {(one.path, one.query) for one in sent} == {("/v4/events", (("volume", "v"),))}
        assert pauses[3:] == [pytest.approx(0.35, abs=0.06), 7.0]
        assert all(0.1 < pause <= 0.2 for pause in (pauses[0], pauses[2]))
        # Once for each time that it was lost, however often it is tried again.
        assert said == ["Nobody answers. Trying again.", "Cut. Trying again."]

    def test_a_new_stream_has_no_last_event_id(self) -> None:
        _, (sent,), _ = run(events(Context(), ()), answer(200))
        assert "Last-Event-ID" not in sent.headers

    def test_a_gap_has_no_job(self) -> None:
        chunk = b'event: gap\nid: 9\ndata: {"id": "x"}\n\nevent: job\nid: 10\ndata: [1]\n\n'
        emitted, _, _ = run(events(Context(), ()), answer(200), chunk)
        assert [(event.id, event.kind, event.job) for event in emitted] == [("9", "gap", None), ("10", "job", None)]

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            (ConnectionLost("No certificate", sent=False, permanent=True), Unavailable),
            (REFUSED, Unavailable),
            (Response(502, {"content-type": "text/html"}, b"<html>"), Unavailable),
            (problem(403, "missing-role"), NotAuthorised),
        ],
    )
    def test_permanent_failures_end_the_stream(self, reply: Any, error: type[Exception]) -> None:
        timeout = 60 if getattr(reply, "permanent", False) else 0
        with pytest.raises(error):
            run(events(Context(), (), timeout=timeout), reply)

    def test_a_gateway_without_a_service_is_a_lost_connection(self) -> None:
        page = Response(502, {"content-type": "text/html"}, b"<html>")
        _, sent, pauses = run(events(Context(), (), timeout=60), page, answer(200))
        assert (len(sent), len(pauses)) == (2, 1)
        _, sent, pauses = run(events(Context(), (), timeout=60), problem(429, "x", retry_after="3"), answer(200))
        assert pauses == [3.0]


def test_models_keep_unknown_fields() -> None:
    job = JobRecord.of({"id": "1", "error": "odd", "attempts": None, "colour": "red", "queue": {"name": "q"}})
    assert (job.error, job.attempts, job.more, job.queue and job.queue.name) == (None, (), {"colour": "red"}, "q")


def test_a_failed_read_of_a_result_is_reported() -> None:
    ended = answer(200, JOB | {"done": True, "state": "failed", "error": {"code": "x"}})
    with pytest.raises(JobFailed):
        run(await_batch(Context(), "1", Deadline(9)), ended, answer(200, []))
