"""What is sent, and when again, derived from the answers alone: no service is needed to see it."""

from __future__ import annotations

from typing import Any

import pytest

from flows import JOB, LOST, REFUSED, answer, problem, run
from storage_api_client.errors import (
    JobCancelled,
    JobFailed,
    NotFound,
    OutcomeUnknown,
    Refused,
    StillRunning,
    StorageApiError,
    Unavailable,
    error_of,
)
from storage_api_client.models import Problem
from storage_api_client.protocol import deadlines
from storage_api_client.protocol.asking import Context, ask, problem_of
from storage_api_client.protocol.changing import Change, Options, perform, submit
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.following import follow, result_of
from storage_api_client.protocol.messages import ConnectionLost, Pause, Request, Response, advance, fail
from storage_api_client.protocol.reading import Read, pages, read


class TestAsking:
    """One request, until an answer stays."""

    def ask(self, *answers: Any, timeout: float = 100.0, **options: Any) -> tuple[Any, list[Request], list[float]]:
        request = Request("POST", "/x", headers={"Idempotency-Key": "k"})
        return run(ask(Context(), request, Deadline(timeout), **options), *answers)

    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (200, {}), (202, {"retry_after": "1"}), (304, {}), (409, {"retry_after": "1"}), (429, {}), (503, {}),
            (429, {"retry_after": "1", "operation_location": "/v4/jobs/1"}), (504, {"operation_location": "/x"}),
            (502, {}), (504, {}), (401, {}),
        ],
    )  # fmt: skip
    def test_an_answer_that_stays(self, status: int, headers: dict[str, str]) -> None:
        response, sent, pauses = self.ask(answer(status, {}, **headers))
        assert (response.status, len(sent), pauses) == (status, 1, [])

    @pytest.mark.parametrize(
        ("status", "headers"),
        [(429, {}), (503, {}), (504, {}), (504, {"operation_location": "/v4/jobs/1"})],
    )
    def test_one_that_does_not(self, status: int, headers: dict[str, str]) -> None:
        response, sent, pauses = self.ask(problem(status, "x", retry_after="7", **headers), answer(200, {}))
        assert (response.status, pauses) == (200, [7.0])
        assert sent[0].headers == sent[1].headers
        assert sent[0].headers["Idempotency-Key"] == "k"
        assert sent[0].headers["X-Request-ID"]

    def test_an_id_of_the_request_s_own_is_kept(self) -> None:
        request = Request("GET", "/x", headers={"X-Request-ID": "mine"})
        for answers in ([answer(200)], [problem(503, "x", retry_after="0"), answer(200)]):
            _, sent, pauses = run(ask(Context(), request, Deadline(9)), *answers)
            assert {one.headers["X-Request-ID"] for one in sent} == {"mine"}
        assert 0.14 < pauses[0] <= 0.2  # "At once" is not taken at its word.

    @pytest.mark.parametrize(("timeout", "wait_s", "limit_s"), [(100, 20, 35), (100, 0, 15), (3, 20, 4), (0, 0, 1)])
    def test_an_answer_has_its_time(self, timeout: float, wait_s: float, limit_s: float) -> None:
        _, (sent,), _ = self.ask(answer(200), timeout=timeout, wait_s=wait_s)
        assert sent.limit_s == pytest.approx(limit_s, abs=0.1)

    def test_why_it_takes_longer_is_said_once(self) -> None:
        said: list[str] = []
        request, full = Request("GET", "/x"), problem(503, "full", retry_after="1")
        away = problem(503, "away", retry_after="1")
        run(ask(Context(notify=said.append), request, Deadline(90)), full, full, away, away, answer(200))
        assert [sentence.split()[0] for sentence in said] == ["full", "away"]

    def test_without_a_key_a_change_that_was_sent_is_in_doubt_and_a_question_is_not(self) -> None:
        for method, error in (("POST", OutcomeUnknown), ("GET", Unavailable)):
            with pytest.raises(error) as failure:
                run(ask(Context(), Request(method, "/x"), Deadline(0)), LOST)
            assert getattr(failure.value, "idempotency_key", None) is None
            assert failure.value.request_id

    def test_errors_of_others_are_told_as_such(self) -> None:
        request = Request("GET", "/x", headers={"X-Request-ID": "mine"})
        foreign = Response(404, {"content-type": "application/json"}, b'{"code": "no-such-volume", "detail": "d"}')
        refusal = problem_of(foreign, request)
        assert (refusal.code, refusal.status, refusal.request_id) == ("", 404, "mine")
        assert "not as the storage API does" in refusal.detail
        named = problem_of(Response(503, {"x-request-id": "theirs"}), request)
        assert (named.request_id, "takes no requests" in named.detail) == ("theirs", True)

    def test_a_pause_that_is_too_long_is_not_made(self) -> None:
        with pytest.raises(Unavailable):
            self.ask(problem(503, "x", retry_after="7"), timeout=5)

    def test_a_gateway_without_a_service_is_a_lost_connection(self) -> None:
        page = Response(502, {"content-type": "text/html"}, b"<html>")
        response, sent, pauses = self.ask(page, page, answer(200, {}))
        assert (response.status, len(sent), len(pauses)) == (200, 3, 2)
        assert 0.1 < pauses[0] <= 0.2 < pauses[1] <= 0.4

    def test_a_page_that_says_when_to_come_again_is_heeded(self) -> None:
        page = Response(503, {"content-type": "text/html", "retry-after": "7"}, b"<html>")
        assert self.ask(page, answer(200, {}))[2] == [7.0]

    def test_a_service_that_is_away_is_not_tried_for_the_whole_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deadlines, "UNREACHABLE_S", 0.0)
        with pytest.raises(Unavailable):
            run(ask(Context(), Request("GET", "/x"), Deadline(None)), REFUSED)

    def test_what_may_have_been_accepted_once_stays_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        request, deadline = Request("POST", "/x", headers={"Idempotency-Key": "k"}), Deadline(100)
        flow = ask(Context(), request, deadline)
        advance(flow)
        assert isinstance(fail(flow, LOST), Pause)
        advance(flow)
        monkeypatch.setattr(Deadline, "allows_reconnect", lambda *_: False)
        with pytest.raises(OutcomeUnknown):
            fail(flow, REFUSED)

    @pytest.mark.parametrize(("lost", "error"), [(LOST, OutcomeUnknown), (REFUSED, Unavailable)])
    def test_what_may_have_been_accepted_is_told(self, lost: ConnectionLost, error: type[StorageApiError]) -> None:
        with pytest.raises(error) as failure:
            self.ask(lost, timeout=0)
        assert getattr(failure.value, "idempotency_key", None) == ("k" if error is OutcomeUnknown else None)
        assert failure.value.retryable

    def test_what_is_sent_once_is_sent_again_only_where_nobody_had_it(self) -> None:
        response, sent, _ = self.ask(REFUSED, answer(200, {}), once=True)
        assert (response.status, len(sent)) == (200, 2)
        with pytest.raises(OutcomeUnknown):
            self.ask(LOST, once=True)
        with pytest.raises(Unavailable):
            self.ask(problem(503, "x", retry_after="1"), once=True)

    def test_what_is_of_no_use_is_not_tried_again(self) -> None:
        with pytest.raises(Unavailable) as failure:
            self.ask(ConnectionLost("No such certificate", sent=False, permanent=True))
        assert not failure.value.retryable


class TestFollowing:
    """A job, by long polls."""

    def test_only_what_has_changed_is_asked_for(self) -> None:
        job, sent, _ = run(
            follow(Context(), "1", Deadline(100)),
            answer(200, JOB, etag='"1"'),
            answer(304, etag='"1"', retry_after="3"),
            answer(200, JOB | {"state": "succeeded", "done": True}),
        )
        assert job.done
        assert [request.headers.get("If-None-Match") for request in sent] == [None, '"1"', '"1"']
        assert [request.headers.get("Prefer") for request in sent] == ["wait=20"] * 3
        assert {round(request.limit_s) for request in sent} == {35}

    def test_no_longer_than_there_is_time_and_at_once_where_somebody_watches(self) -> None:
        seen: list[Any] = []
        done = answer(200, JOB | {"state": "failed", "done": True})
        job, sent, _ = run(follow(Context(), "a/b", Deadline(5.5), seen.append), answer(200, JOB, etag='"1"'), done)
        assert ([one.done for one in seen], job.state) == ([False, True], "failed")
        assert [request.headers.get("Prefer") for request in sent] == [None, "wait=5"]
        assert {request.path for request in sent} == {"/v4/jobs/a%2Fb"}

    def test_a_service_that_holds_nothing_back_says_when_to_come_again(self) -> None:
        done = answer(200, JOB | {"done": True})
        _, _, pauses = run(follow(Context(), "1", Deadline(100)), answer(304, retry_after="3"), answer(304), done)
        assert [round(pause) for pause in pauses] == [3, 1]
        assert all(pause <= limit for pause, limit in zip(pauses, (3, 1), strict=True))

    def test_the_time_is_over(self) -> None:
        with pytest.raises(StillRunning) as failure:
            run(follow(Context(), "1", Deadline(0.1)), answer(200, JOB))
        assert failure.value.job is not None
        assert (failure.value.job.id, failure.value.code, failure.value.retryable) == ("1", "still-running", True)
        with pytest.raises(StillRunning) as failure:
            run(follow(Context(), "7", Deadline(0.1)), answer(304))
        assert failure.value.job is not None
        assert failure.value.job.id == "7"

    def test_its_result_is_where_it_says(self) -> None:
        done = JOB | {"state": "succeeded", "done": True, "links": {"result": "/below/v4/jobs/1/result"}}
        value, sent, _ = run(result_of(Context(), "1", Deadline(9)), answer(200, done), answer(200, [1]))
        assert (value, sent[-1].path) == ([1], "/below/v4/jobs/1/result")
        with pytest.raises(JobFailed):
            run(result_of(Context(), "1", Deadline(9)), answer(200, JOB | {"state": "failed", "done": True}))


class TestChanging:
    """A change, to its end."""

    def perform(self, *answers: Any, **options: Any) -> tuple[Any, list[Request], list[float]]:
        change = Change("POST", "/x", lambda body: body, {"a": 1})
        return run(perform(Context(), change, Options(timeout=60, **options)), *answers)

    def test_it_waits_and_has_a_key(self) -> None:
        made = answer(201, {"b": 2}, operation_location="/v4/jobs/1")
        value, (request,), _ = self.perform(made, idempotency_key="mine", headers={"If-Match": "x"})
        assert (value, request.body) == ({"b": 2}, {"a": 1})
        assert request.headers["Idempotency-Key"] == "mine"
        assert (request.headers["Prefer"], request.headers["If-Match"]) == ("wait=20", "x")

    def test_what_is_watched_is_known_soon(self) -> None:
        seen: list[str] = []
        ended = JOB | {"state": "succeeded", "done": True, "result": {"value": 1}}
        answers = (answer(202, JOB), answer(200, ended))
        assert self.perform(*answers, on_progress=lambda job: seen.append(job.state))[0] == 1
        assert seen == ["running", "succeeded"]

    @pytest.mark.parametrize(("timeout", "watched", "prefer"), [(5.5, False, "wait=5"), (60, True, "wait=1"),
                                                                (0.5, True, None)])  # fmt: skip
    def test_it_waits_no_longer_than_is_wanted(self, timeout: float, watched: bool, prefer: str | None) -> None:
        options = Options(timeout, on_progress=(lambda _: None) if watched else None)
        _, (sent,), _ = run(perform(Context(), Change("PUT", "/x", lambda body: body), options), answer(200, 1))
        assert (sent.headers.get("Prefer"), sent.body) == (prefer, None)

    def test_it_is_only_asked_for(self) -> None:
        change = Change("POST", "/x", lambda body: body, {"a": 1})
        job, (sent,), _ = run(submit(Context(), change, Options(headers={"If-Match": "x"})), answer(202, JOB))
        assert (job.id, sent.body, sent.headers["If-Match"]) == ("1", {"a": 1}, "x")
        assert "Prefer" not in sent.headers
        assert sent.headers["Idempotency-Key"]

    def test_what_is_refused_has_no_job(self) -> None:
        with pytest.raises(Refused) as refusal:
            self.perform(problem(422, "validation-failed"))
        assert refusal.value.job is None

    @pytest.mark.parametrize(("code", "error"), [("already-exists", JobFailed), ("outcome-unknown", OutcomeUnknown)])
    def test_an_end_is_told_also_where_its_job_cannot_be_read(self, code: str, error: type[StorageApiError]) -> None:
        with pytest.raises(error) as failure:
            self.perform(problem(409, code, operation_location="/v4/jobs/1"), problem(404, "no-such-job"))
        assert (type(failure.value), failure.value.code) == (error, code)

    @pytest.mark.parametrize("value", [{"c": 3}, None])
    def test_a_longer_one_is_followed(self, value: Any) -> None:
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
    def test_its_end_is_told(self, state: str, code: str, error: type[StorageApiError]) -> None:
        ended = JOB | {"state": state, "done": True, "error": {"title": "T", "status": 409, "code": code}}
        for answers in ([answer(202, JOB), answer(200, ended)],
                        [problem(409, code, operation_location="/v4/jobs/1"), answer(200, ended)]):  # fmt: skip
            with pytest.raises(error) as failure:
                self.perform(*answers)
            assert (failure.value.code, failure.value.job and failure.value.job.id) == (code, "1")

    def test_a_key_that_is_taken_names_no_job_of_ours(self) -> None:
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

    def test_what_is_not_cached_is_waited_for_with_the_same_query(self) -> None:
        done = JOB | {"state": "succeeded", "done": True}
        what = Read("/v", lambda body: body, (("sort", "name"),))
        value, sent, _ = run(read(Context(), what), answer(202, JOB), answer(200, done), answer(200, ["x"]))
        assert value == ["x"]
        assert (sent[-1].path, sent[-1].query) == ("/v4/jobs/1/result", (("sort", "name"),))

    def test_whose_job_failed_has_no_such_object(self) -> None:
        failed = JOB | {"state": "failed", "done": True, "error": {"status": 404, "code": "no-such-volume"}}
        with pytest.raises(NotFound):
            run(read(Context(), Read("/v", lambda body: body)), answer(202, JOB), answer(200, failed))


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "unauthenticated", "NotAuthorised"), (403, "missing-role", "NotAuthorised"),
        (404, "no-such-volume", "NotFound"), (410, "job-expired", "NotFound"), (410, "result-expired", "NotFound"),
        (410, "page-token-expired", "Refused"), (409, "already-exists", "Refused"), (429, "queue-full", "Unavailable"),
        (502, "", "Unavailable"), (502, "backend-error", "Refused"), (503, "queue-unavailable", "Unavailable"),
        (504, "not-cached", "Unavailable"), (504, "backend-timeout", "Refused"),
    ],
)  # fmt: skip
def test_what_an_answer_means(status: int, code: str, error: str) -> None:
    assert type(error_of(Problem(title="T", status=status, code=code))).__name__ == error
