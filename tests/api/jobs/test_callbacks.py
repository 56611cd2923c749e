"""Callback-URL: which requests may have one, and what each refusal says."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from tests.api.front_end import FrontEnd, accepted, pointers, problem

_URL = "https://hooks.example.org/ended?of=me"
_VOLUME = "/v4/filer/volumes/db01"


@pytest.fixture
def front_end(redis_url: str, redis_client: Redis) -> FrontEnd:
    """A front end that allows callbacks to one host, beside workers that send them."""
    redis_client.set("sapi:webhook_callbacks", "1")
    return FrontEnd(redis_url, settings={"callback_hosts": "hooks.example.org"})


def _send(front_end: FrontEnd, url: str, method: str = "POST") -> Any:
    return front_end.client().open(_VOLUME, method=method, json={"size_total": 10**9}, headers={"Callback-URL": url})


def test_the_callback_is_stored_with_the_job(front_end: FrontEnd, redis_client: Redis):
    job_id = accepted(_send(front_end, f" {_URL} ")).rpartition("/")[2]
    assert redis_client.hget(f"sapi:job:{job_id}", "callback") == _URL.encode()


@pytest.mark.parametrize("path", [_VOLUME, "/v4/batches"])
def test_another_callback_url_makes_another_request(front_end: FrontEnd, path: str):
    """A replay sends no callback: its receiver would wait for ever."""
    client = front_end.client()
    body = {"requests": [{"method": "DELETE", "path": _VOLUME}]} if path != _VOLUME else {}
    keys = {"Idempotency-Key": "k"}
    first, again, other, none = (
        client.post(path, json=body, headers=keys | sent)
        for sent in ({"Callback-URL": _URL}, {"Callback-URL": f"{_URL} "}, {"Callback-URL": f"{_URL}2"}, {})
    )
    assert accepted(first) == accepted(again)
    for answer in (other, none):
        problem(answer, 422, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://other.example.org/", "SAPI_CALLBACK_HOSTS"),
        ("http://hooks.example.org/", "SAPI_CALLBACK_HOSTS"),
        ("ftp://hooks.example.org/", "http"),
        ("https://user@hooks.example.org/", ""),
        ("", ""),
    ],
)
def test_other_callback_urls_are_refused(front_end: FrontEnd, redis_client: Redis, url: str, words: str):
    _refused(_send(front_end, url), words)
    assert redis_client.keys("sapi:job:*") == []


def test_without_a_webhook_process_a_callback_is_refused(front_end: FrontEnd, redis_client: Redis):
    redis_client.delete("sapi:webhook_callbacks")
    _refused(_send(front_end, _URL), "SAPI_CALLBACK_SECRET")
    assert redis_client.keys("sapi:job:*") == []


def test_a_read_cannot_have_a_callback(front_end: FrontEnd, redis_client: Redis):
    answer = front_end.client().get(_VOLUME, headers={"Callback-URL": _URL, "Prefer": "respond-async"})
    _refused(answer, "changes only")
    assert redis_client.keys("sapi:job:*") == []


def test_a_retried_read_cannot_have_a_callback(front_end: FrontEnd, redis_client: Redis):
    client = front_end.client()
    job_path = accepted(client.get(_VOLUME, headers={"Prefer": "respond-async"}))
    assert client.post(f"{job_path}/cancel").status_code == 200
    _refused(client.post(f"{job_path}/retry", headers={"Callback-URL": _URL}), "changes only")
    assert len(redis_client.keys("sapi:job:*")) == 1


def _refused(answer: Any, words: str) -> None:
    document = problem(answer, 422, "validation-failed")
    assert pointers(document) == ["/Callback-URL"]
    assert words in document["errors"][0]["detail"]
