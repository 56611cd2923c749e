"""Requests below /v3 that come again: never done twice, and never answered with what is not true of them."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests

from tests.e2e.client import Client
from tests.e2e.own_stack import LIST, QUICK, OwnStack, own_stack

_WAIT_S = 1
#: Longer than a request is held open.
_LATENCY_S = 1.5
_LIMIT_S = 40


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """A service whose slow filer outlasts each wait."""
    backends = {"slow": {"volumes": 5, "latency_s": _LATENCY_S}, "quick": {"volumes": 5, "latency_s": 0.1}}
    with own_stack(tmp_path_factory.mktemp("v3"), backends, QUICK, LIST, v3_wait=_WAIT_S) as running:
        yield running


@pytest.fixture
def http(stack: OwnStack) -> Client:
    return stack.client()


def jobs_of(http: Client, operation: str, volume: str) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = http.get(f"/v4/jobs?operation={operation}&volume={volume}").json()
    return jobs


def repeat_until_answered(http: Client, method: str, path: str, body: Any = None) -> list[requests.Response]:
    """Send the same request again for as long as it is said to be under way; every answer."""
    answers = [http.request(method, path, json=body)]
    until = time.monotonic() + _LIMIT_S
    while answers[-1].status_code in (503, 504) and time.monotonic() < until:
        answers.append(http.request(method, path, json=body))
    return answers


def assert_under_way(answer: requests.Response) -> str:
    """The job of a request that was not answered in time."""
    assert answer.status_code == 504, answer.text
    assert set(answer.json()) == {"message", "job"}
    assert "accepted" in answer.json()["message"]
    assert answer.headers["Operation-Location"] == answer.json()["job"]
    assert "Retry-After" not in answer.headers
    return str(answer.json()["job"])


def test_a_repeated_creation_gets_its_own_outcome(http: Client, name: str) -> None:
    first, *_, last = repeat_until_answered(http, "POST", f"/v3/slow/volumes/{name}", {"size_total": 10**9})
    job = assert_under_way(first)
    assert last.status_code == 201, last.text
    assert (last.json()["name"], last.headers["Operation-Location"]) == (name, job)
    again = repeat_until_answered(http, "POST", f"/v3/slow/volumes/{name}", {"size_total": 10**9})[-1]
    assert again.status_code == 400
    assert "already exists" in again.json()["message"]
    assert [job["state"] for job in jobs_of(http, "create_volume", name)] == ["failed", "succeeded"]


def test_simultaneous_requests_are_two_jobs(http: Client, stack: OwnStack, name: str) -> None:
    path, body = f"/v3/quick/volumes/{name}", {"size_total": 10**9}
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(stack.client().post, path, json=body) for _ in range(2)]
        statuses = {future.result(_LIMIT_S).status_code for future in futures}
    ended = [http.ended(job["id"]) for job in jobs_of(http, "create_volume", name)]
    assert sorted(job["state"] for job in ended) == ["failed", "succeeded"]
    # On a busy machine a job may last longer than its request is held.
    assert statuses <= {201, 400, 504}


def test_after_another_change_a_repeated_request_is_new(http: Client, name: str) -> None:
    repeat_until_answered(http, "POST", f"/v3/slow/volumes/{name}", {"size_total": 10**9})
    lock = f"/v3/slow/volumes/{name}/locks/h1"
    first = assert_under_way(http.put(lock))
    assert repeat_until_answered(http, "DELETE", lock)[-1].status_code == 204
    second = repeat_until_answered(http, "PUT", lock)[-1]
    assert second.status_code == 201
    assert second.headers["Operation-Location"] != first
    assert repeat_until_answered(http, "GET", f"/v3/slow/volumes/{name}/locks")[-1].json() == [{"host": "h1"}]


def test_after_a_change_by_path_a_repeated_request_is_new(http: Client, name: str) -> None:
    repeat_until_answered(http, "POST", f"/v3/slow/volumes/{name}", {"size_total": 10**9})
    lock, by_path = f"/v3/slow/volumes/{name}/locks/h1", f"/v3/slow/volumes/:/{name}/locks/h1"
    first = assert_under_way(http.put(lock))
    assert repeat_until_answered(http, "DELETE", by_path)[-1].status_code == 204
    second = repeat_until_answered(http, "PUT", lock)[-1]
    assert second.status_code == 201
    assert second.headers["Operation-Location"] != first


def held_request(stack: OwnStack, http: Client, method: str, path: str, **options: Any) -> Future[requests.Response]:
    """A request that is held open now: its job is there."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(stack.client().request, method, path, **options)
    pool.shutdown(wait=False)
    volume = path.split("/volumes/")[1].split("/", maxsplit=1)[0]
    until = time.monotonic() + _LIMIT_S
    while not http.get(f"/v4/jobs?volume={volume}").json():
        assert time.monotonic() < until
        time.sleep(0.05)
    return future


@pytest.fixture
def long(stack: OwnStack) -> Iterator[OwnStack]:
    """An API process that holds requests for long, beside the others."""
    name = f"api-{uuid.uuid4().hex[:6]}"
    address = stack.processes.serve(
        name, "api.wsgi:app", workers=1, SAPI_V3_WAIT="30", SAPI_BACKENDS="slow🌈DummyStorage"
    )
    yield replace(stack, url=f"http://{address}")
    if name in stack.processes.started:
        stack.processes.end(name)


def api_server(stack: OwnStack) -> str:
    """The name of the API that was started last."""
    return [name for name in stack.processes.started if name.startswith("api-")][-1]


@pytest.mark.slow
def test_requests_held_by_a_killed_api_are_released(stack: OwnStack, long: OwnStack, http: Client, name: str) -> None:
    path, body = f"/v3/slow/volumes/{name}", {"size_total": 10**9}
    future = held_request(long, http, "POST", path, json=body)
    server = stack.processes.started.pop(api_server(stack))
    # Its process goes with it.
    server.kill()
    server.wait(20)
    with pytest.raises(requests.ConnectionError):
        future.result(_LIMIT_S)
    assert repeat_until_answered(http, "POST", path, body)[-1].status_code == 201
    assert len(jobs_of(http, "create_volume", name)) == 1


@pytest.mark.slow
def test_outcomes_not_yet_returned_survive_a_restart_of_redis(stack: OwnStack, long: OwnStack, name: str) -> None:
    path, body = f"/v3/slow/volumes/{name}", {"size_total": 10**9}
    future = held_request(long, stack.client(), "POST", path, json=body)
    stack.restart_redis()
    first = future.result(_LIMIT_S)
    assert first.status_code in (201, 504), first.text
    last = first if first.status_code == 201 else repeat_until_answered(stack.client(), "POST", path, body)[-1]
    assert last.status_code == 201, last.text
    assert len(jobs_of(stack.client(), "create_volume", name)) == 1


@pytest.mark.slow
def test_a_process_that_gets_sigterm_answers_held_requests(
    stack: OwnStack, long: OwnStack, http: Client, name: str
) -> None:
    path, body = f"/v3/slow/volumes/{name}", {"size_total": 10**9}
    future = held_request(long, http, "POST", path, json=body)
    stack.processes.started[api_server(stack)].send_signal(signal.SIGTERM)
    job = assert_under_way(future.result(_LIMIT_S))
    answer = repeat_until_answered(http, "POST", path, body)[-1]
    assert (answer.status_code, answer.headers["Operation-Location"]) == (201, job)


@pytest.mark.slow
def test_an_outcome_that_came_too_late_for_its_client_is_kept(stack: OwnStack, long: OwnStack, name: str) -> None:
    path, body = f"/v3/slow/volumes/{name}", {"size_total": 10**9}
    frozen = stack.processes.pids("api")
    future = held_request(stack, long.client(), "POST", path, json=body, timeout=(5, _LATENCY_S))
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        # The client gives up, the job ends, and the time in which an answer may come is over.
        with pytest.raises(requests.ReadTimeout):
            future.result(_LIMIT_S)
        (job,) = jobs_of(long.client(), "create_volume", name)
        ended = long.client().get(f"/v4/jobs/{job['id']}", headers={"Prefer": "wait=20"}).json()
        assert ended["state"] == "succeeded"
        time.sleep(_WAIT_S + 1)
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    stack.await_ready()
    answer = repeat_until_answered(stack.client(), "POST", path, body)[-1]
    assert (answer.status_code, answer.headers["Operation-Location"]) == (201, f"/v4/jobs/{job['id']}")
