"""What is sent, and when again, derived from the answers alone: no service is needed to see it."""

from __future__ import annotations

import json
from typing import Any

import pytest

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
from storage_api_client.protocol.asking import Context, ask
from storage_api_client.protocol.changing import Change, Options, perform
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.following import follow
from storage_api_client.protocol.messages import ConnectionLost, Emit, Ended, Pause, Request, Response, advance, fail
from storage_api_client.protocol.reading import Read, pages, read

JOB = {"id": "1", "state": "running", "done": False}
LOST = ConnectionLost("The connection was lost", sent=True)
REFUSED = ConnectionLost("Nobody answers", sent=False)


def answer(status: int, body: Any = None, **headers: str) -> Response:
    """An answer; an error is a problem of the service."""
    kind = "application/problem+json" if status >= 400 else "application/json"
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status, {"content-type": kind, **named}, b"" if body is None else json.dumps(body).encode())


def problem(status: int, code: str, **headers: str) -> Response:
    return answer(status, {"title": code, "status": status, "code": code, "detail": code}, **headers)


def run(flow: Any, *answers: Response | ConnectionLost) -> tuple[Any, list[Request], list[float]]:
    """Give a flow these answers: what it returns or emits, what it has sent, and its pauses."""
    replies, sent, pauses, emitted = list(answers), [], [], []
    command = advance(flow)
    while not isinstance(command, Ended):
        if isinstance(command, Pause):
            pauses.append(command.seconds)
            command = advance(flow)
        elif isinstance(command, Emit):
            emitted.append(command.value)
            command = advance(flow)
        else:
            sent.append(command.request)
            reply = replies.pop(0)
            command = fail(flow, reply) if isinstance(reply, ConnectionLost) else advance(flow, reply)
    assert replies == []
    return (emitted or command.value), sent, pauses


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

    def test_a_service_that_holds_nothing_back_says_when_to_come_again(self) -> None:
        done = answer(200, JOB | {"done": True})
        _, _, pauses = run(follow(Context(), "1", Deadline(100)), answer(304, retry_after="3"), answer(304), done)
        assert [round(pause) for pause in pauses] == [3, 1]

    def test_the_time_is_over(self) -> None:
        with pytest.raises(StillRunning) as failure:
            run(follow(Context(), "1", Deadline(0.1)), answer(200, JOB))
        assert failure.value.job is not None
        assert (failure.value.job.id, failure.value.code) == ("1", "still-running")


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
        first = answer(200, [{"n": 1}, {"n": 2}], link='</v?page_token=t&limit=3>; rel="next"')
        emitted, sent, _ = run(pages(Context(), what, limit=3, fresh=True), first, answer(200, [{"n": 3}, {"n": 4}]))
        assert emitted == [1, 2, 3]
        assert sent[0].query == (("state", "online"), ("limit", "3"))
        assert sent[1].query == (("page_token", "t"), ("limit", "3"))
        assert [request.headers.get("Cache-Control") for request in sent] == ["no-cache", None]

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
