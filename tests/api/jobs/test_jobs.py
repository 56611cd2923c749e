"""A job as its clients see it: its document, the wait for its end, and its result."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from api.reads import lookup
from api.resources import jobs
from tests.api.front_end import FrontEnd, accepted, problem
from worker.catalog.operations import Role
from worker.jobs.ids import JobIds
from worker.jobs.notifications import JobNotifications
from worker.telemetry import tracing

URL = "/v4/filer/volumes/db01"


class TestShow:
    def test_a_queued_job_has_the_members_of_the_contract(self, client, queued):
        response = client.get(queued)
        job = response.json
        assert queued == job["links"]["self"] == f"/v4/jobs/{job['id']}"
        assert job["target"] == URL
        assert job["request"] == {"volume": "db01", "size_total": 10**9}
        assert (job["state"], job["done"], job["requested_by"], job["error"], job["result"]) == (
            "queued",
            False,
            "ann",
            None,
            None,
        )
        assert job["queue"] == {
            "name": "filer.write",
            "position": 0,
            "workers_online": 0,
            "waiting_reason": "no-worker-online",
        }
        assert job["created_at"].endswith("Z")
        assert int(response.headers["Retry-After"]) >= 1

    def test_a_job_continues_the_trace_of_its_request(self, client, redis_client, monkeypatch):
        monkeypatch.setattr(tracing, "current_context", lambda: f"00-{1:032x}-{2:016x}-01")
        job_id = accepted(client.delete(URL)).rpartition("/")[2]
        assert redis_client.hget(f"sapi:job:{job_id}", "traceparent") == f"00-{1:032x}-{2:016x}-01".encode()

    def test_a_succeeded_job_shows_its_result(self, client, succeeded):
        response = client.get(succeeded)
        job = response.json
        assert (job["state"], job["done"]) == ("succeeded", True)
        assert job["result"]["status"] == 201
        assert job["result"]["value"]["name"] == "db01"
        assert "Retry-After" not in response.headers

    def test_a_failed_job_shows_its_problem(self, client, failed):
        error = client.get(failed).json["error"]
        assert (error["code"], error["status"], error["type"]) == ("no-such-volume", 404, "/problems/no-such-volume")

    def test_an_id_that_was_never_issued(self, client):
        for job_id in ("x", "01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90", JobIds(b"other").new()):
            problem(client.get(f"/v4/jobs/{job_id}"), 404, "no-such-job")

    def test_an_id_issued_with_another_secret_is_not_found(self, redis_url, redis_client, front_end, queued):
        # Redis has lost its data, the secret too, and this process has started since.
        redis_client.delete(f"{front_end.settings.key_prefix}id-secret")
        client: Any = FrontEnd(redis_url).client()
        job_id = queued.rpartition("/")[2]
        assert client.get(queued).json["id"] == job_id
        assert [job["id"] for job in client.get(f"/v4/jobs?id={job_id},x").json] == [job_id]
        assert client.post(f"{queued}/cancel").json["state"] == "cancelled"

    def test_an_expired_record_is_reported_as_expired(self, client, front_end, redis_client, queued):
        job_id = queued.rpartition("/")[2]
        redis_client.delete(f"{front_end.settings.key_prefix}job:{job_id}")
        problem(client.get(queued), 410, "job-expired")
        problem(client.get(f"{queued}/result"), 410, "job-expired")
        problem(client.post(f"{queued}/cancel"), 410, "job-expired")

    def test_clients_with_the_role_of_the_operation_may_see_it(self, front_end, redis_client, queued):
        redis_client.hset(f"sapi:job:{queued.rpartition('/')[2]}", "requester_key", "somebody else's")
        assert front_end.client(Role.ADMIN).get(queued).status_code == 200
        problem(front_end.client(Role.USER).get(queued), 404, "no-such-job")

    def test_its_requester_may_see_it_without_any_role(self, front_end, queued):
        assert front_end.client(Role.USER).get(queued).status_code == 200

    def test_clients_without_the_role_may_not_see_it(self, front_end, queued):
        for path in (queued, f"{queued}/result"):
            problem(front_end.stranger().get(path), 404, "no-such-job")

    def test_access_to_a_job_is_in_the_audit_log(self, front_end, client, queued, audit):
        client.get(queued)
        front_end.stranger().get(queued)
        seen, refused = audit()[-2:]
        job = {"job_id": queued.rpartition("/")[2], "role": "ADMIN", "target": URL}
        assert (job | {"who": "ann", "auth_method": "basic", "allowed": True, "status": 200}).items() <= seen.items()
        assert (
            job | {"who": "", "auth_method": "anonymous", "allowed": False, "reason": "not-their-job"}
        ).items() <= refused.items()

    def test_anonymous_clients_do_not_see_jobs_of_one_another(self, front_end, redis_client, queued):
        redis_client.hset(
            f"{front_end.settings.key_prefix}job:{queued.rpartition('/')[2]}",
            mapping={"requester": "", "requester_key": ""},
        )
        problem(front_end.stranger().get(queued), 404, "no-such-job")


class TestLongPoll:
    @pytest.mark.parametrize("accept", ["application/json", "text/html", "*/*"])
    def test_browsers_get_html_and_vary_is_sent(self, client, queued, accept):
        for path, status in ((queued, 200), ("/v4/jobs", 200), ("/v4/jobs?limit=0", 422)):
            answer = client.get(path, headers={"Accept": accept})
            assert (answer.status_code, answer.is_json) == (status, accept != "text/html")
            assert "Accept" in answer.headers["Vary"].split(", ")
        tag = client.get(queued).headers["ETag"]
        assert "Accept" in client.get(queued, headers={"If-None-Match": tag, "Accept": accept}).headers["Vary"]

    def test_the_version_is_the_etag(self, client, queued):
        tag = client.get(queued).headers["ETag"]
        response = client.get(queued, headers={"If-None-Match": tag})
        assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", tag)
        assert client.get(queued, headers={"If-None-Match": f"W/{tag}"}).status_code == 304

    def test_a_finished_job_answers_at_once(self, client, succeeded):
        tag = client.get(succeeded).headers["ETag"]
        headers = {"If-None-Match": tag, "Prefer": "wait=20"}
        answer = client.get(succeeded, headers=headers)
        assert (answer.status_code, answer.headers["Preference-Applied"]) == (304, "wait=20")
        assert (answer.headers["Cache-Control"], "Retry-After" in answer.headers) == ("private, no-cache", False)
        assert "Preference-Applied" not in client.get(succeeded, headers={"If-None-Match": tag}).headers
        assert client.get(succeeded, headers={"Prefer": "wait=0"}).headers["Preference-Applied"] == "wait=0"

    def test_a_long_poll_accepts_an_id_in_upper_case(self, client, queued, monkeypatch):
        waited_for = []
        monkeypatch.setattr("api.resources.jobs.wait_for", lambda _, job_id, *_a, **_o: waited_for.append(job_id))
        job_id = queued.rpartition("/")[2]
        assert client.get(f"/v4/jobs/{job_id.upper()}", headers={"Prefer": "wait=5"}).json["id"] == job_id
        assert waited_for == [job_id]

    def test_a_long_poll_returns_at_the_next_change(self, front_end, client, worker, queued, monkeypatch):
        tag = client.get(queued).headers["ETag"]
        answers, waits, watch = [], threading.Event(), JobNotifications.watch

        @contextmanager
        def recorded(*arguments, **options):
            # Requests that wait for the end only are woken for other changes much later.
            assert not options["end"]
            with watch(*arguments, **options) as watching:
                assert watching is not None

                def wait(seconds: float) -> bool:
                    waits.set()
                    return watching.wait(seconds)

                yield SimpleNamespace(wait=wait)

        monkeypatch.setattr(JobNotifications, "watch", recorded)

        def wait() -> None:
            answers.append(front_end.client().get(queued, headers={"If-None-Match": tag, "Prefer": "wait=20"}))

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert waits.wait(15)
        worker.take(queued)
        waiting.join(15)
        (answer,) = answers
        assert answer.json["state"] == "running"

    def test_when_too_many_wait_the_present_state_is_returned(self, redis_url, redis_client):
        front_end = FrontEnd(redis_url, max_waiting=1)
        path = accepted(front_end.client().post(URL))
        tag = front_end.client().get(path).headers["ETag"]
        with front_end.services.events.watch("another", end=False):
            response = front_end.client().get(path, headers={"If-None-Match": tag, "Prefer": "wait=20"})
        assert response.status_code == 304
        assert "Retry-After" in response.headers


class TestResult:
    def test_the_result_of_a_creation(self, client, succeeded):
        response = client.get(f"{succeeded}/result")
        assert (response.status_code, response.headers["Location"]) == (201, URL)
        assert response.json["size_total"] == 10**9

    def test_the_result_of_a_deletion(self, client, worker, redis_client, succeeded):
        path = accepted(client.delete(URL))
        worker.carry_out(path)
        # Nothing is the result also when results are kept no longer.
        for _ in range(2):
            response = client.get(f"{path}/result")
            assert (response.status_code, response.data) == (204, b"")
            assert "Content-Type" not in response.headers
            assert response.headers["Cache-Control"] == "no-store"
            redis_client.delete(f"sapi:result:{path.rpartition('/')[2]}")

    @pytest.mark.parametrize(
        ("method", "url", "body", "location"),
        [
            ("POST", "/v4/filer/export/p", {"rules": ["10.0.0.1"]}, "/v4/filer/export/p"),
            ("POST", f"{URL}/snapshots/s", None, f"{URL}/snapshots/s"),
            ("PUT", f"{URL}/locks/host", None, None),
        ],
    )
    def test_the_result_of_a_creation_has_its_location(self, client, worker, succeeded, method, url, body, location):
        path = accepted(client.open(url, method=method, json=body))
        worker.carry_out(path)
        response = client.get(f"{path}/result")
        assert (response.status_code, response.headers.get("Location")) == (201, location)

    def test_the_result_of_a_failed_job_is_its_problem(self, client, failed):
        problem(client.get(f"{failed}/result"), 404, "no-such-volume")

    def test_a_listing_is_as_old_as_the_begin_of_its_read(self, client, worker, redis_client):
        read = accepted(client.get("/v4/filer/volumes", headers={"Prefer": "respond-async"}))
        worker.carry_out(read)
        key = f"sapi:job:{read.rpartition('/')[2]}"
        redis_client.hset(key, "started", int(redis_client.hget(key, "finished")) - 3_600_000)
        assert 3600 <= int(client.get(f"{read}/result").headers["Age"]) < 3700

    def test_the_response_of_an_ended_job_has_no_retry_after(self, client, worker):
        headers = {"Idempotency-Key": "k", "Prefer": "wait=0"}
        path = accepted(client.delete("/v4/filer/volumes/away", headers={"Idempotency-Key": "k"}))
        worker.fail(path, "backend-unavailable")
        for answer in (client.get(f"{path}/result"), client.delete("/v4/filer/volumes/away", headers=headers)):
            problem(answer, 503, "backend-unavailable")
            assert answer.headers["Operation-Location"] == path
            assert "Retry-After" not in answer.headers
        assert (answer.headers["Idempotency-Replayed"], answer.headers["Preference-Applied"]) == ("true", "wait=0")

    def test_the_result_of_an_unfinished_job(self, client, queued):
        response = client.get(f"{queued}/result")
        problem(response, 409, "job-not-finished")
        assert int(response.headers["Retry-After"]) >= 1
        assert response.headers["Operation-Location"] == queued

    def test_the_result_of_a_cancelled_job(self, client, queued):
        client.post(f"{queued}/cancel")
        answer = client.get(f"{queued}/result")
        problem(answer, 409, "job-cancelled")
        assert (answer.headers["Operation-Location"], "Retry-After" in answer.headers) == (queued, False)

    def test_an_expired_result(self, client, front_end, redis_client, succeeded):
        redis_client.delete(f"{front_end.settings.key_prefix}result:{succeeded.rpartition('/')[2]}")
        problem(client.get(f"{succeeded}/result"), 410, "result-expired")

    def test_the_result_of_a_listing_is_that_of_the_query(self, client, worker, succeeded):
        headers = {"Prefer": "respond-async", "Cache-Control": "no-cache"}
        response = client.get("/v4/filer/volumes?name=db01&fields=name", headers=headers)
        path = accepted(response)
        assert response.json["links"]["result"] == f"{path}/result?name=db01&fields=name"
        worker.carry_out(path)
        assert client.get(f"{path}/result").json == [{"name": "db01"}]

    def test_the_result_of_a_listing_is_paginated(self, client, worker, succeeded):
        other = accepted(client.post("/v4/filer/volumes/db02"))
        worker.carry_out(other)
        path = accepted(
            client.get("/v4/filer/volumes", headers={"Prefer": "respond-async", "Cache-Control": "no-cache"})
        )
        worker.carry_out(path)
        first = client.get(f"{path}/result?limit=1&name=db*&fields=name")
        assert first.json == [{"name": "db01"}]
        assert client.get(first.headers["Link"].partition(">")[0][1:]).json == [{"name": "db02"}]
        problem(client.get(f"{path}/result?colour=red"), 422, "validation-failed")


def test_a_listing_whose_job_has_expired_meanwhile_is_a_problem(client, monkeypatch):
    monkeypatch.setattr(lookup, "_wait", lambda *_arguments, **_options: None)
    document = problem(client.get("/v4/filer/volumes"), 410, "job-expired")
    assert document["detail"] == "The job that asked the storage system is kept no longer. Ask again."


def test_a_long_poll_waits_for_the_end_or_for_another_version(client, queued, failed, monkeypatch):
    waits: list[bool] = []
    monkeypatch.setattr(jobs, "wait_for", lambda *_arguments, end: waits.append(end))
    tag, wait = client.get(queued).headers["ETag"], {"Prefer": "wait=5"}
    client.get(queued, headers=wait)
    assert waits == [True]
    client.get(queued, headers=wait | {"If-None-Match": tag})
    assert waits == [True, False]
    client.get(queued, headers=wait | {"If-None-Match": '"an-older-one"'})
    client.get(failed, headers=wait)
    assert waits == [True, False]


@pytest.mark.parametrize(("result_bytes", "is_part"), [(8191, True), (8192, False)])
def test_a_small_result_is_part_of_its_job(client, worker, redis_client, result_bytes, is_part):
    path = accepted(client.post(URL, json={"size_total": 10**9}))
    worker.carry_out(path)
    redis_client.set(f"sapi:result:{path.rpartition('/')[2]}", f'"{"x" * (result_bytes - 2)}"', keepttl=True)
    assert ("value" in client.get(path).json["result"]) is is_part
