"""What is sent, and when it is repeated, by given responses: without a service."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from flows import JOB, LOST, answer, problem, run
from storage_api_client.errors import (
    JobCancelled,
    JobFailed,
    NotFound,
    OutcomeUnknown,
    Refused,
    StillRunning,
    StorageApiError,
    error_of,
)
from storage_api_client.models import JobRecord, Problem
from storage_api_client.protocol.batches import results_of
from storage_api_client.protocol.changes import Change, Options, perform, submit
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.messages import Request
from storage_api_client.protocol.polling import poll_until_done, wait_for_result
from storage_api_client.protocol.reads import Read, pages, read
from storage_api_client.protocol.retries import Context, send_with_retries


class TestFollowing:
    """A job, by long polls."""

    def test_polls_are_conditional(self) -> None:
        job, sent, _ = run(
            poll_until_done(Context(), "1", Deadline(100)),
            answer(200, JOB, etag='"1"'),
            answer(304, etag='"1"', retry_after="3"),
            answer(200, JOB | {"state": "succeeded", "done": True}),
        )
        assert job.done
        assert [request.headers.get("If-None-Match") for request in sent] == [None, '"1"', '"1"']
        assert [request.headers.get("Prefer") for request in sent] == ["wait=20"] * 3
        assert {round(request.limit_s) for request in sent} == {35}

    def test_polls_are_limited_by_the_deadline_and_immediate_with_progress(self) -> None:
        seen: list[Any] = []
        done = answer(200, JOB | {"state": "failed", "done": True})
        job, sent, _ = run(
            poll_until_done(Context(), "a/b", Deadline(5.5), seen.append), answer(200, JOB, etag='"1"'), done
        )
        assert ([one.done for one in seen], job.state) == ([False, True], "failed")
        assert [request.headers.get("Prefer") for request in sent] == [None, "wait=5"]
        assert {request.path for request in sent} == {"/v4/jobs/a%2Fb"}

    def test_retry_after_is_respected_between_polls(self) -> None:
        done = answer(200, JOB | {"done": True})
        _, _, pauses = run(
            poll_until_done(Context(), "1", Deadline(100)), answer(304, retry_after="3"), answer(304), done
        )
        assert [round(pause) for pause in pauses] == [3, 1]
        assert all(pause <= limit for pause, limit in zip(pauses, (3, 1), strict=True))

    def test_retry_after_of_a_long_poll_counts_from_its_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # For 4 s, for almost all of the 20 s, and not at all.
        clock = Mock(monotonic=Mock(side_effect=[0, 4, 10, 29.5, 30, 30]))
        monkeypatch.setattr("storage_api_client.protocol.polling.time", clock)
        not_yet, done = answer(304, retry_after="10"), answer(200, JOB | {"done": True})
        _, _, pauses = run(poll_until_done(Context(), "1", Deadline(100)), not_yet, not_yet, done)
        assert pauses == [6]

    def test_a_job_still_running_at_the_deadline(self) -> None:
        with pytest.raises(StillRunning) as failure:
            run(poll_until_done(Context(), "1", Deadline(0.1)), answer(200, JOB))
        assert failure.value.job is not None
        assert (failure.value.job.id, failure.value.code, failure.value.retryable) == ("1", "still-running", True)
        with pytest.raises(StillRunning) as failure:
            run(poll_until_done(Context(), "7", Deadline(0.1)), answer(304))
        assert failure.value.job is not None
        assert failure.value.job.id == "7"

    def test_the_result_is_read_from_its_link(self) -> None:
        done = JOB | {"state": "succeeded", "done": True, "links": {"result": "/below/v4/jobs/1/result"}}
        value, sent, _ = run(wait_for_result(Context(), "1", Deadline(9)), answer(200, done), answer(200, [1]))
        assert (value, sent[-1].path) == ([1], "/below/v4/jobs/1/result")
        with pytest.raises(JobFailed):
            run(wait_for_result(Context(), "1", Deadline(9)), answer(200, JOB | {"state": "failed", "done": True}))

    def test_results_of_a_batch_are_read_from_its_job(self) -> None:
        _, (sent,), _ = run(results_of(Context(), JobRecord(id="a/b"), Deadline(9)), answer(200, []))
        assert sent.path == "/v4/jobs/a%2Fb/result"

    def test_each_outage_of_the_service_has_its_own_time(self) -> None:
        deadline = Deadline(9)
        run(send_with_retries(Context(), Request("GET", "/x"), deadline), LOST, answer(200))
        assert deadline._lost_since is None


class TestChanging:
    """A change, to its end."""

    def perform(self, *answers: Any, **options: Any) -> tuple[Any, list[Request], list[float]]:
        change = Change("POST", "/x", lambda body: body, {"a": 1})
        return run(perform(Context(), change, Options(timeout=60, **options)), *answers)

    def test_a_change_waits_and_has_a_key(self) -> None:
        made = answer(201, {"b": 2}, operation_location="/v4/jobs/1")
        value, (request,), _ = self.perform(made, idempotency_key="mine", headers={"If-Match": "x"})
        assert (value, request.body) == ({"b": 2}, {"a": 1})
        assert request.headers["Idempotency-Key"] == "mine"
        assert (request.headers["Prefer"], request.headers["If-Match"]) == ("wait=20", "x")

    @pytest.mark.parametrize("key", ["", "a\nb", "é", "k" * 256])
    def test_a_key_that_no_header_can_hold_is_refused_before_anything_is_sent(self, key: str) -> None:
        with pytest.raises(Refused, match="idempotency key must be 1 to 255"):
            self.perform(idempotency_key=key)
        assert self.perform(answer(200), idempotency_key="k" * 255)[1][0].headers["Idempotency-Key"] == "k" * 255

    def test_progress_is_reported_from_the_begin(self) -> None:
        seen: list[str] = []
        ended = JOB | {"state": "succeeded", "done": True, "result": {"value": 1}}
        answers = (answer(202, JOB), answer(200, ended))
        assert self.perform(*answers, on_progress=lambda job: seen.append(job.state))[0] == 1
        assert seen == ["running", "succeeded"]

    @pytest.mark.parametrize(("timeout", "watched", "prefer"), [(5.5, False, "wait=5"), (60, True, "wait=1"),
                                                                (0.5, True, None)])  # fmt: skip
    def test_a_change_waits_no_longer_than_the_timeout(self, timeout: float, watched: bool, prefer: str | None) -> None:
        options = Options(timeout, on_progress=(lambda _: None) if watched else None)
        _, (sent,), _ = run(perform(Context(), Change("PUT", "/x", lambda body: body), options), answer(200, 1))
        assert (sent.headers.get("Prefer"), sent.body) == (prefer, None)

    def test_a_submitted_change_does_not_wait(self) -> None:
        change = Change("POST", "/x", lambda body: body, {"a": 1})
        job, (sent,), _ = run(submit(Context(), change, Options(headers={"If-Match": "x"})), answer(202, JOB))
        assert (job.id, sent.body, sent.headers["If-Match"]) == ("1", {"a": 1}, "x")
        assert "Prefer" not in sent.headers
        assert sent.headers["Idempotency-Key"]

    def test_a_refused_change_has_no_job(self) -> None:
        with pytest.raises(Refused) as refusal:
            self.perform(problem(422, "validation-failed"))
        assert refusal.value.job is None

    @pytest.mark.parametrize(("code", "error"), [("already-exists", JobFailed), ("outcome-unknown", OutcomeUnknown)])
    def test_a_failure_is_reported_without_a_readable_job(self, code: str, error: type[StorageApiError]) -> None:
        with pytest.raises(error) as failure:
            self.perform(problem(409, code, operation_location="/v4/jobs/1"), problem(404, "no-such-job"))
        assert (type(failure.value), failure.value.code) == (error, code)

    @pytest.mark.parametrize("value", [{"c": 3}, None])
    def test_a_longer_change_is_polled(self, value: Any) -> None:
        ended = JOB | {"state": "succeeded", "done": True, "result": {"status": 200, "value": value}}
        returned, sent, _ = self.perform(answer(202, JOB), answer(200, ended))
        assert returned == value
        assert [request.path for request in sent] == ["/x", "/v4/jobs/1"]

    def test_a_large_result_is_fetched(self) -> None:
        ended = JOB | {"state": "succeeded", "done": True, "result": {"status": 200}}
        returned, sent, _ = self.perform(answer(202, JOB), answer(200, ended), answer(200, {"d": 4}))
        assert (returned, sent[-1].path) == ({"d": 4}, "/v4/jobs/1/result")
        with pytest.raises(NotFound) as failure:
            self.perform(answer(202, JOB), answer(200, ended), problem(410, "result-expired"))
        assert failure.value.job is not None
        assert failure.value.job.id == "1"

    @pytest.mark.parametrize(
        ("state", "code", "error"),
        [
            ("failed", "already-exists", JobFailed),
            ("failed", "outcome-unknown", OutcomeUnknown),
            ("cancelled", "job-cancelled", JobCancelled),
        ],
    )
    def test_the_end_of_a_change_is_reported(self, state: str, code: str, error: type[StorageApiError]) -> None:
        ended = JOB | {"state": state, "done": True, "error": {"title": "T", "status": 409, "code": code}}
        for answers in ([answer(202, JOB), answer(200, ended)],
                        [problem(409, code, operation_location="/v4/jobs/1"), answer(200, ended)]):  # fmt: skip
            with pytest.raises(error) as failure:
                self.perform(*answers)
            assert (failure.value.code, failure.value.job and failure.value.job.id) == (code, "1")

    def test_a_reused_key_names_no_job(self) -> None:
        with pytest.raises(Refused):
            self.perform(problem(422, "idempotency-key-reused", operation_location="/v4/jobs/1"))


class TestReading:
    """Objects and collections."""

    def test_pages_go_on_over_their_own_copy(self) -> None:
        what = Read("/v", lambda record: record["n"], (("state", "online"),))
        first = answer(200, [{"n": 1}, {"n": 2}], link='</a>; rel="prev", </v?page_token=t&q=&limit=3>; rel="next"')
        second = answer(200, [{"n": 3}, {"n": 4}], link='</v?page_token=u>; rel="next"')
        emitted, sent, _ = run(pages(Context(), what, limit=3, fresh=True), first, second)
        assert emitted == [1, 2, 3]
        assert sent[0].query == (("state", "online"), ("limit", "3"))
        assert sent[1].query == (("page_token", "t"), ("q", ""), ("limit", "3"))
        assert [request.headers.get("Cache-Control") for request in sent] == ["no-cache", None]
        assert {request.headers["Prefer"] for request in sent} == {"wait=20"}
        emitted, (alone,), _ = run(pages(Context(), what), answer(200, [{"n": 1}]))
        assert (emitted, alone.query[-1], alone.headers.get("Cache-Control")) == ([1], ("limit", "1000"), None)
        (_, (many,), _) = run(pages(Context(), what, limit=5000), answer(200, []))
        assert many.query[-1] == ("limit", "1000")

    def test_a_read_that_is_not_cached_waits_with_the_same_query(self) -> None:
        done = JOB | {"state": "succeeded", "done": True}
        what = Read("/v", lambda body: body, (("sort", "name"),))
        value, sent, _ = run(read(Context(), what), answer(202, JOB), answer(200, done), answer(200, ["x"]))
        assert value == ["x"]
        assert (sent[-1].path, sent[-1].query) == ("/v4/jobs/1/result", (("sort", "name"),))

    def test_a_failed_read_raises_its_error(self) -> None:
        failed = JOB | {"state": "failed", "done": True, "error": {"status": 404, "code": "no-such-volume"}}
        with pytest.raises(NotFound) as failure:
            run(read(Context(), Read("/v", lambda body: body)), answer(202, JOB), answer(200, failed))
        assert failure.value.job is not None
        assert failure.value.job.id == "1"


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "unauthenticated", "NotAuthorised"), (403, "missing-role", "NotAuthorised"),
        (404, "no-such-volume", "NotFound"), (410, "job-expired", "NotFound"), (410, "result-expired", "NotFound"),
        (410, "page-token-expired", "Refused"), (409, "already-exists", "Refused"), (429, "queue-full", "Unavailable"),
        (502, "", "Unavailable"), (502, "backend-error", "Refused"), (503, "queue-unavailable", "Unavailable"),
        (504, "not-cached", "Unavailable"), (504, "backend-timeout", "Refused"), (504, "", "Unavailable"),
    ],
)  # fmt: skip
def test_the_exception_of_each_problem(status: int, code: str, error: str) -> None:
    assert type(error_of(Problem(title="T", status=status, code=code))).__name__ == error
