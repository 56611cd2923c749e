"""One request until its final response: what is sent, and when it is repeated."""

from __future__ import annotations

from typing import Any

import pytest

from flows import LOST, REFUSED, answer, problem, run
from storage_api_client.errors import (
    OutcomeUnknown,
    StorageApiError,
    Unavailable,
)
from storage_api_client.protocol import deadlines
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.messages import ConnectionLost, Pause, Request, Response, advance, fail
from storage_api_client.protocol.retries import Context, problem_of, send_with_retries


class TestAsking:
    """One request, until an answer stays."""

    def send_with_retries(
        self, *answers: Any, timeout: float = 100.0, **options: Any
    ) -> tuple[Any, list[Request], list[float]]:
        request = Request("POST", "/x", headers={"Idempotency-Key": "k"})
        return run(send_with_retries(Context(), request, Deadline(timeout), **options), *answers)

    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (200, {}), (202, {"retry_after": "1"}), (304, {}), (409, {"retry_after": "1"}), (429, {}), (503, {}),
            (429, {"retry_after": "1", "operation_location": "/v4/jobs/1"}), (504, {"operation_location": "/x"}),
            (502, {}), (504, {}), (401, {}),
        ],
    )  # fmt: skip
    def test_a_final_response_is_returned(self, status: int, headers: dict[str, str]) -> None:
        response, sent, pauses = self.send_with_retries(answer(status, {}, **headers))
        assert (response.status, len(sent), pauses) == (status, 1, [])

    @pytest.mark.parametrize(
        ("status", "headers"),
        [(429, {}), (503, {}), (504, {}), (504, {"operation_location": "/v4/jobs/1"})],
    )
    def test_a_temporary_refusal_is_repeated(self, status: int, headers: dict[str, str]) -> None:
        response, sent, pauses = self.send_with_retries(
            problem(status, "x", retry_after="7", **headers), answer(200, {})
        )
        assert (response.status, pauses) == (200, [7.0])
        assert sent[0].headers == sent[1].headers
        assert sent[0].headers["Idempotency-Key"] == "k"
        assert sent[0].headers["X-Request-ID"]

    def test_a_given_request_id_is_kept(self) -> None:
        request = Request("GET", "/x", headers={"X-Request-ID": "mine"})
        for answers in ([answer(200)], [problem(503, "x", retry_after="0"), answer(200)]):
            _, sent, pauses = run(send_with_retries(Context(), request, Deadline(9)), *answers)
            assert {one.headers["X-Request-ID"] for one in sent} == {"mine"}
        assert 0.14 < pauses[0] <= 0.2  # A delay of 0 is not used as it is.

    @pytest.mark.parametrize(("timeout", "wait_s", "limit_s"), [(100, 20, 35), (100, 0, 15), (3, 20, 4), (0, 0, 1)])
    def test_a_request_has_its_timeout(self, timeout: float, wait_s: float, limit_s: float) -> None:
        _, (sent,), _ = self.send_with_retries(answer(200), timeout=timeout, wait_s=wait_s)
        assert sent.limit_s == pytest.approx(limit_s, abs=0.1)

    def test_each_reason_for_a_delay_is_reported_once(self) -> None:
        said: list[str] = []
        request, full = Request("GET", "/x"), problem(503, "full", retry_after="1")
        away = problem(503, "away", retry_after="1")
        run(send_with_retries(Context(notify=said.append), request, Deadline(90)), full, full, away, away, answer(200))
        assert [sentence.split()[0] for sentence in said] == ["full", "away"]

    def test_without_a_key_a_sent_change_is_in_doubt_and_a_read_is_not(self) -> None:
        for method, error in (("POST", OutcomeUnknown), ("GET", Unavailable)):
            with pytest.raises(error) as failure:
                run(send_with_retries(Context(), Request(method, "/x"), Deadline(0)), LOST)
            assert getattr(failure.value, "idempotency_key", None) is None
            assert failure.value.request_id

    def test_errors_of_other_servers_are_distinguished(self) -> None:
        request = Request("GET", "/x", headers={"X-Request-ID": "mine"})
        foreign = Response(404, {"content-type": "application/json"}, b'{"code": "no-such-volume", "detail": "d"}')
        refusal = problem_of(foreign, request)
        assert (refusal.code, refusal.status, refusal.request_id) == ("", 404, "mine")
        assert "not as the storage API does" in refusal.detail
        named = problem_of(Response(503, {"x-request-id": "theirs"}), request)
        assert (named.request_id, "takes no requests" in named.detail) == ("theirs", True)

    def test_a_problem_may_say_its_encoding(self) -> None:
        body = b'{"code": "no-such-volume", "status": 404, "detail": "There is none."}'
        response = Response(404, {"content-type": "application/problem+json; charset=utf-8"}, body)
        assert problem_of(response, Request("GET", "/x")).code == "no-such-volume"

    def test_a_pause_beyond_the_deadline_is_not_made(self) -> None:
        with pytest.raises(Unavailable):
            self.send_with_retries(problem(503, "x", retry_after="7"), timeout=5)

    @pytest.mark.parametrize("status", [502, 503, 504])
    def test_a_gateway_without_a_service_is_a_lost_connection(self, status: int) -> None:
        page = Response(status, {"content-type": "text/html"}, b"<html>")
        response, sent, pauses = self.send_with_retries(page, page, answer(200, {}))
        assert (response.status, len(sent), len(pauses)) == (200, 3, 2)
        assert 0.1 < pauses[0] <= 0.2 < pauses[1] <= 0.4

    def test_retry_after_of_an_html_page_is_respected(self) -> None:
        page = Response(503, {"content-type": "text/html", "retry-after": "7"}, b"<html>")
        assert self.send_with_retries(page, answer(200, {}))[2] == [7.0]

    def test_a_service_that_is_away_is_not_tried_for_the_whole_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deadlines, "UNREACHABLE_S", 0.0)
        with pytest.raises(Unavailable):
            run(send_with_retries(Context(), Request("GET", "/x"), Deadline(None)), REFUSED)

    def test_a_possibly_accepted_change_stays_in_doubt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        request, deadline = Request("POST", "/x", headers={"Idempotency-Key": "k"}), Deadline(100)
        flow = send_with_retries(Context(), request, deadline)
        advance(flow)
        assert isinstance(fail(flow, LOST), Pause)
        advance(flow)
        monkeypatch.setattr(Deadline, "allows_reconnect", lambda *_: False)
        with pytest.raises(OutcomeUnknown):
            fail(flow, REFUSED)

    @pytest.mark.parametrize("method", ["POST", "GET"])
    def test_a_later_refusal_does_not_resolve_the_doubt(self, method: str) -> None:
        """The service has lost its queue since the first attempt, whose answer did not arrive."""
        request = Request(method, "/x", headers={"Idempotency-Key": "k"} if method == "POST" else {})
        with pytest.raises(OutcomeUnknown if method == "POST" else Unavailable) as failure:
            run(send_with_retries(Context(), request, Deadline(5)), LOST, problem(503, "away", retry_after="7"))
        assert failure.value.detail.startswith("away")
        assert getattr(failure.value, "idempotency_key", None) == ("k" if method == "POST" else None)

    @pytest.mark.parametrize(
        "later",
        [
            problem(401, "unauthenticated"),
            problem(403, "missing-role"),
            problem(500, "x"),
            Response(404, {}, b"<html>"),
        ],
        ids=lambda response: response.status,
    )
    def test_a_response_that_is_ambiguous_does_not_resolve_the_doubt(self, later: Response) -> None:
        """The session has ended since the first attempt, for example."""
        request = Request("POST", "/x", headers={"Idempotency-Key": "k"})
        with pytest.raises(OutcomeUnknown) as failure:
            run(send_with_retries(Context(), request, Deadline(9)), LOST, later)
        assert failure.value.idempotency_key == "k"
        for method, earlier in (("GET", LOST), ("POST", REFUSED)):
            flow = send_with_retries(Context(), Request(method, "/x", headers=request.headers), Deadline(9))
            assert run(flow, earlier, later)[0] is later

    @pytest.mark.parametrize(
        "later",
        [problem(409, "lock-held"), problem(502, "backend-error", operation_location="/v4/jobs/1"), answer(200)],
    )
    def test_an_answer_about_the_change_is_final(self, later: Response) -> None:
        request = Request("POST", "/x", headers={"Idempotency-Key": "k"})
        assert run(send_with_retries(Context(), request, Deadline(9)), LOST, later)[0] is later

    @pytest.mark.parametrize(("lost", "error"), [(LOST, OutcomeUnknown), (REFUSED, Unavailable)])
    def test_possible_acceptance_is_reported(self, lost: ConnectionLost, error: type[StorageApiError]) -> None:
        with pytest.raises(error) as failure:
            self.send_with_retries(lost, timeout=0)
        assert getattr(failure.value, "idempotency_key", None) == ("k" if error is OutcomeUnknown else None)
        assert failure.value.retryable

    def test_permanent_failures_are_not_retried(self) -> None:
        with pytest.raises(Unavailable) as failure:
            self.send_with_retries(ConnectionLost("No such certificate", sent=False, permanent=True))
        assert not failure.value.retryable
