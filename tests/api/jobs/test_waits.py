"""A request that is held open for its own change is answered by the step that ends it, and never loses the job."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import redis

from api.jobs import submit
from api.services import LAST_LOOK_S
from tests.api.front_end import FrontEnd, accepted, problem
from worker.execution import claims
from worker.jobs.replies import ReplyQueue

if TYPE_CHECKING:
    from redis import Redis
    from werkzeug.test import TestResponse

URL = "/v4/filer/volumes/db01"
SOON_S = 20.0


class WaitingRequest:
    """A request in a thread of its own, which waits for its job."""

    def __init__(self, begun: queue.Queue[str], ask: Callable[[], TestResponse]) -> None:
        self._answers: list[TestResponse] = []
        self._thread = threading.Thread(target=lambda: self._answers.append(ask()))
        self._thread.start()
        #: The path of the job, once the request waits for it.
        self.job = f"/v4/jobs/{begun.get(timeout=SOON_S)}"

    def answer(self) -> TestResponse:
        self._thread.join(SOON_S)
        (answer,) = self._answers
        return answer


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[str]:
    """Jobs that requests have begun to wait for."""
    jobs: queue.Queue[str] = queue.Queue()
    wait = ReplyQueue.wait

    def tell(self: ReplyQueue, job_id: str, seconds: float) -> bytes:
        jobs.put(job_id)
        return wait(self, job_id, seconds)

    monkeypatch.setattr(ReplyQueue, "wait", tell)
    return jobs


@pytest.fixture
def asking(front_end: FrontEnd, begun: queue.Queue[str]) -> Callable[..., WaitingRequest]:
    def ask(method: str, url: str, wait_s: int = 20, **more: Any) -> WaitingRequest:
        headers = {"Prefer": f"wait={wait_s}"}
        return WaitingRequest(begun, lambda: front_end.client().open(url, method=method, headers=headers, **more))

    return ask


def test_respond_async_is_confirmed_in_preference_applied(client):
    for method, headers in (("POST", {"Prefer": "respond-async"}), ("DELETE", {"Prefer": "respond-async, wait=0"})):
        answer = client.open(URL, method=method, headers=headers)
        assert answer.headers["Preference-Applied"] == "respond-async"
        accepted(answer)


def test_respond_async_is_not_confirmed_after_waiting(client, worker):
    headers = {"Prefer": "respond-async, wait=20", "Idempotency-Key": "k"}
    path = accepted(client.delete(URL, headers={"Idempotency-Key": "k"}))
    worker.carry_out(path)
    for answer in (client.delete(URL, headers=headers), client.get(path, headers=headers)):
        assert answer.headers["Preference-Applied"] == "wait=20"


def test_a_change_that_succeeds_is_answered_with_its_result(client, worker, asking):
    waiting = asking("POST", URL, json={"size_total": 10**9})
    worker.carry_out(waiting.job)
    answer = waiting.answer()
    assert (answer.status_code, answer.headers["Location"], answer.headers["Operation-Location"]) == (
        201,
        URL,
        waiting.job,
    )
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert answer.json == client.get(f"{waiting.job}/result").json
    assert answer.json["size_total"] == 10**9


def test_a_change_without_result_is_answered_without_a_body(client, worker, asking):
    worker.carry_out(accepted(client.post(URL, json={"size_total": 10**9})))
    worker.carry_out(accepted(client.put(f"{URL}/locks/host")))
    removed = asking("DELETE", f"{URL}/locks/host")
    worker.carry_out(removed.job)
    answer = removed.answer()
    assert (answer.status_code, answer.data) == (204, b"")


def test_a_change_that_fails_is_answered_with_its_problem(worker, asking):
    waiting = asking("DELETE", "/v4/filer/volumes/none")
    worker.carry_out(waiting.job)
    problem(waiting.answer(), 404, "no-such-volume")


def test_a_cancelled_change_is_answered_at_once(client, asking):
    waiting = asking("DELETE", URL)
    client.post(f"{waiting.job}/cancel")
    problem(waiting.answer(), 409, "job-cancelled")


def test_a_large_result_is_read_from_redis(worker, asking, monkeypatch):
    monkeypatch.setattr(claims, "INLINE_RESULT_BYTES", 10)
    waiting = asking("POST", URL, json={"size_total": 10**9})
    worker.carry_out(waiting.job)
    assert waiting.answer().json["size_total"] == 10**9


def test_a_change_by_path_is_answered_with_the_name_of_the_volume(client, worker, asking):
    made = asking("POST", URL, json={"size_total": 10**9})
    worker.carry_out(made.job)
    worker.carry_out(accepted(client.post(f"{URL}/snapshots/before")))
    by_path = f"/v4/filer/volumes/node:{made.answer().json['junction_path']}"
    waiting = asking("POST", by_path, json={"from_snapshot": "before"})
    worker.carry_out(waiting.job)
    answer = waiting.answer()
    assert (answer.status_code, answer.headers["Location"]) == (201, URL)


def test_when_redis_becomes_unavailable_the_job_is_returned(client, worker, asking, redis_client):
    waiting = asking("POST", URL, json={"size_total": 10**9})
    await_blocked(redis_client)
    redis_client.client_kill_filter(_type="normal", skipme=True)
    assert accepted(waiting.answer()) == waiting.job
    worker.carry_out(waiting.job)
    assert client.get(waiting.job).json["state"] == "succeeded"


@pytest.mark.parametrize("error", [redis.ResponseError("MISCONF no disk"), redis.TimeoutError("slow")])
def test_after_any_error_of_redis_the_job_is_returned(client, monkeypatch, error):
    def refuse(*_: object) -> bytes:
        raise error

    monkeypatch.setattr(ReplyQueue, "wait", refuse)
    monkeypatch.setattr(submit, "wait_for_end", refuse)
    headers = {"Prefer": "respond-async, wait=20", "Idempotency-Key": "k"}
    first, again = (client.post(URL, json={"size_total": 10**9}, headers=headers) for _ in range(2))
    assert accepted(first) == accepted(again)
    assert [answer.headers["Preference-Applied"] for answer in (first, again)] == ["respond-async"] * 2
    assert [answer.headers.get("Idempotency-Replayed") for answer in (first, again)] == [None, "true"]


def test_a_wait_ends_in_time_though_redis_does_not_answer(front_end, client, worker, monkeypatch):
    batch = {"requests": [{"method": "DELETE", "path": URL}]}
    requests = [
        ("GET", "/v4/filer/volumes", None), ("DELETE", URL, None), ("POST", "/v4/batches", batch),
        ("DELETE", f"{URL}2", None),
    ]  # fmt: skip
    headers = {"Prefer": "wait=20", "Idempotency-Key": "k"}
    path = accepted(client.delete(URL, headers={"Idempotency-Key": "k"}))
    silent = Mock(side_effect=redis.TimeoutError("slow"))
    monkeypatch.setattr("api.jobs.long_polling._left_s", lambda *_: 0.01)
    monkeypatch.setattr(front_end.services.short_timeout_scripts, "get_job", silent)
    answers = [
        client.open(url, method=method, json=body, headers=headers if url == URL else {"Prefer": "wait=20"})
        for method, url, body in requests
    ]
    assert [accepted(answer) == path for answer in answers] == [False, True, False, False]
    job = client.get(path, headers={"Prefer": "wait=20"})
    assert (job.status_code, job.json["state"]) == (200, "queued")
    assert silent.call_count == 5
    # Otherwise that look tells the end that came with it.
    monkeypatch.undo()
    assert front_end.services.jobs.get_quickly(path.rpartition("/")[2]).job.state == "queued"


def test_a_request_lasts_less_than_a_second_longer_than_its_wait(front_end):
    pool = front_end.services.short_timeout_scripts._client.connection_pool
    assert pool.connection_kwargs["socket_timeout"] == LAST_LOOK_S < 1


def test_when_too_many_wait_the_job_is_returned_at_once(redis_url, redis_client):
    front_end = FrontEnd(redis_url, max_waiting=1)
    with front_end.services.events.watch("another", end=False):
        response = front_end.client().post(URL, json={"size_total": 10**9}, headers={"Prefer": "wait=20"})
    accepted(response)


def test_without_a_waiting_request_no_reply_is_sent(client, worker, redis_client):
    worker.carry_out(accepted(client.post(URL, json={"size_total": 10**9})))
    assert redis_client.keys("*reply:*") == []


def test_an_unused_reply_queue_expires_soon(worker, asking, redis_client):
    waiting = asking("POST", URL, wait_s=1, json={"size_total": 10**9})
    path = accepted(waiting.answer())
    worker.carry_out(path)
    (key,) = redis_client.keys("*reply:*")
    assert 5_000 < redis_client.pttl(key) <= 10_000
    (reply,) = redis_client.lrange(key, 0, -1)
    assert json.loads(reply)["size_total"] == 10**9


@pytest.mark.parametrize("why", ["it is large", "it failed"])
def test_a_large_result_is_not_part_of_the_reply(client, worker, asking, redis_client, monkeypatch, why):
    if why == "it is large":
        monkeypatch.setattr(claims, "INLINE_RESULT_BYTES", 10)
    ask = ("POST", {"size_total": 10**9}) if why == "it is large" else ("DELETE", None)
    waiting = asking(ask[0], URL, wait_s=1, json=ask[1])
    worker.carry_out(accepted(waiting.answer()))
    (key,) = redis_client.keys("*reply:*")
    assert redis_client.lrange(key, 0, -1) == [b""]


def await_blocked(client: Redis) -> None:
    """Return when Redis holds a request that waits for its reply; event streams of other tests wait otherwise."""
    until = threading.Event()
    while not any("b" in each["flags"] and each["cmd"] == "blpop" for each in client.client_list()):
        until.wait(0.01)
