"""The Idempotency-Key: which texts are keys, and what makes a request another one."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from api.jobs.new_job import request_hash
from tests.api.front_end import accepted, problem
from worker.jobs.replies import ReplyQueue

URL = "/v4/filer/volumes/a"
CREATION = {"size_total": 10**9, "comment": "for tests"}


def _sent(client: Any, key: str, *, method: str = "POST", path: str = URL, **options: Any) -> Any:
    options = options or {"json": CREATION}
    return client.open(path, method=method, headers={"Idempotency-Key": key}, **options)


@pytest.mark.parametrize("key", ["k", '"', '"k', "a b", "x" * 255, f'"{"x" * 255}"'])
def test_a_repeated_key_returns_the_first_job(client, key):
    first, again = _sent(client, key), _sent(client, key)
    assert "Idempotency-Replayed" not in first.headers
    assert (again.headers["Idempotency-Replayed"], accepted(again)) == ("true", accepted(first))


def test_a_result_that_is_too_large_for_its_job_answers_a_request_that_is_sent_again(client, worker):
    rules = [f"host{number}.example.org" for number in range(500)]
    path, headers = "/v4/filer/export/large", {"Idempotency-Key": "k", "Prefer": "wait=5"}
    worker.carry_out(accepted(_sent(client, "k", path=path, json={"rules": rules})))
    answer = client.post(path, json={"rules": rules}, headers=headers)
    assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (201, "true")
    assert answer.json["rules"] == rules


def test_a_repeated_key_after_the_result_has_expired(client, worker, front_end):
    headers = {"Idempotency-Key": "k", "Prefer": "wait=5"}
    job_path = accepted(_sent(client, "k"))
    worker.carry_out(job_path)
    assert front_end.services.redis.delete(f"sapi:result:{job_path.rpartition('/')[2]}") == 1
    response = client.post(URL, json=CREATION, headers=headers)
    problem(response, 410, "result-expired")
    assert (response.headers["Idempotency-Replayed"], "Retry-After" in response.headers) == ("true", False)
    assert response.headers["Operation-Location"] == job_path


@pytest.mark.parametrize("key", ["", '""', "x" * 256, f'"{"x" * 256}"', "a\tb"])
def test_an_invalid_key_is_refused(client, key):
    problem(_sent(client, key), 400, "invalid-request")
    assert client.get("/v4/jobs").json == []


def test_a_quoted_key_is_the_same_key(client):
    assert accepted(_sent(client, '"k"')) == accepted(_sent(client, "k"))


def test_the_formatting_of_the_body_does_not_matter(client):
    first = accepted(_sent(client, "k"))
    body = b'{ "size_total": 1000000000, "comment": "for tests" }'
    assert accepted(_sent(client, "k", data=body, content_type="application/json")) == first


@pytest.mark.parametrize(
    "other",
    [
        {"method": "PATCH", "json": CREATION},
        {"path": "/v4/filer/volumes/b", "json": CREATION},
        {"path": "/v4/other/volumes/a", "json": CREATION},
        {"json": CREATION | {"size_total": 2 * 10**9}},
    ],
    ids=["method", "volume", "storage system", "body"],
)
def test_another_request_is_refused(client, other):
    job_id = accepted(_sent(client, "k")).rpartition("/")[2]
    refused = _sent(client, "k", **other)
    problem(refused, 422, "idempotency-key-reused")
    assert refused.headers["Operation-Location"] == f"/v4/jobs/{job_id}"
    assert len(client.get("/v4/jobs").json) == 1


@pytest.mark.parametrize(
    ("path", "body", "other"),
    [
        (URL, CREATION, {"comment": "another one"}),
        (
            "/v4/batches",
            {"requests": [{"method": "POST", "path": URL}]},
            {"requests": [{"method": "DELETE", "path": URL}]},
        ),
        ("/v4/jobs/retry", {"volume": "a"}, {"volume": "b"}),
    ],
    ids=["change", "batch", "many"],
)
def test_keys_of_different_users_are_independent(front_end, client, path, body, other):
    developer = front_end.app().test_client()
    developer.get("/login")
    for user, sent in ((client, body), (developer, other)):
        answer = _sent(user, "k", path=path, json=sent)
        assert answer.status_code in (200, 202), answer.json
        assert "Idempotency-Replayed" not in answer.headers
    problem(_sent(client, "k", path=path, json=other), 422, "idempotency-key-reused")


def test_a_repeated_request_that_waits_gets_the_result_of_an_ended_job(client, worker, monkeypatch):
    path = accepted(_sent(client, "k"))
    worker.carry_out(path)
    again = _sent(client, "k")
    assert (accepted(again), again.headers["Idempotency-Replayed"]) == (path, "true")
    assert "Preference-Applied" not in again.headers
    # The worker's reply has been consumed: a request that waited for it would wait in vain.
    monkeypatch.delattr(ReplyQueue, "wait")
    for wait in ("wait=0", "wait=20"):
        ended = client.post(URL, json=CREATION, headers={"Idempotency-Key": "k", "Prefer": wait})
        assert (ended.status_code, ended.json["name"]) == (201, "a")
        assert (ended.headers["Idempotency-Replayed"], ended.headers["Preference-Applied"]) == ("true", wait)


def test_a_repeated_key_after_the_job_has_expired(client, redis_client):
    path = accepted(_sent(client, "k"))
    redis_client.delete(f"sapi:job:{path.rpartition('/')[2]}")
    problem(_sent(client, "k"), 410, "job-expired")


def test_a_retried_job_has_its_key(client):
    path = accepted(client.post(URL, json=CREATION))
    client.post(f"{path}/cancel")
    key = {"Idempotency-Key": uuid.uuid4().hex}
    assert len({accepted(client.post(f"{path}/retry", headers=key)) for _ in range(2)}) == 1


def test_a_read_ignores_the_key(client):
    headers = {"Cache-Control": "no-cache", "Prefer": "respond-async"}
    reads = [client.get("/v4/filer/volumes", headers=headers | {"Idempotency-Key": key}) for key in ("k", "")]
    assert [("Idempotency-Replayed" in read.headers, bool(accepted(read))) for read in reads] == [(False, True)] * 2
    # The key is new to a change.
    assert "Idempotency-Replayed" not in _sent(client, "k").headers


@pytest.mark.parametrize("body", [["rules"], {"rules": 5}, {"rules": "host"}, {"rules": ["host", 5]}])
def test_a_field_named_rules_is_part_of_the_request_hash(front_end, body):
    """Below `/v3` unknown fields are ignored, whatever they hold."""
    with front_end.app().test_request_context(URL, method="POST", json=body):
        first = request_hash()
    with front_end.app().test_request_context(URL, method="POST", json=[body]):
        assert request_hash() != first
