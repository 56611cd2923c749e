"""Batches over HTTP: what is accepted, and what their documents say."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.api.batches.batch_requests import creation, members_of
from tests.api.front_end import FrontEnd, accepted, pointers, problem
from worker.catalog.operations import Role

URL = "/v4/batches"


@pytest.fixture
def carry_out(client, worker):
    """Carry out a batch to its end, one member after the other."""

    def run(batch: str) -> None:
        while not client.get(batch).json["done"]:
            waiting = [job for job in members_of(client, batch) if job["state"] == "queued"]
            worker.carry_out(waiting[0]["links"]["self"])

    return run


@pytest.fixture
def three(client):
    """A batch of three creations."""
    requests = [creation("a"), creation("b"), creation("c")]
    return accepted(client.post(URL, json={"name": "nightly", "requests": requests}))


@pytest.fixture
def mixed(client, carry_out):
    """A batch that has ended: the first member succeeded, the second failed, the third succeeded without a body."""
    requests = [
        creation("a"),
        creation("a", junction_path="/elsewhere"),
        {"method": "DELETE", "path": "/v4/filer/volumes/a"},
    ]
    path = accepted(client.post(URL, json={"requests": requests}))
    carry_out(path)
    return path


class TestAccepted:
    def test_a_batch_is_accepted_as_a_job(self, client, three):
        batch = client.get(three).json
        assert (batch["operation"], batch["state"], batch["subsystem"]) == ("batch", "queued", "filer")
        assert (batch["requested_by"], batch["target"], batch["retry_of"]) == ("ann", URL, None)
        assert batch["request"] == {"name": "nightly", "on_failure": "continue", "parallel": 8}
        assert batch["children"] == {
            "total": 3,
            "queued": 3,
            "running": 0,
            "succeeded": 0,
            "failed": 0,
            "cancelled": 0,
        }
        assert batch["progress"] == {"percent": 0, "current": 0, "total": 3, "unit": "members", "message": None}
        assert batch["id"] in [job["id"] for job in client.get("/v4/jobs?operation=batch").json]

    def test_a_batch_is_one_line_of_the_audit_log(self, client, audit):
        path = accepted(client.post(URL, json={"requests": [creation("a"), creation("b")]}))
        (line,) = audit()
        expected = {"operation": "create_batch", "target": URL, "who": "ann", "allowed": True, "status": 202}
        assert (expected | {"job_id": path.rpartition("/")[2]}).items() <= line.items()

    def test_members_of_a_batch_are_jobs(self, client, three):
        members = members_of(client, three)
        assert members_of(client, three.upper()) == members
        assert [job["target"] for job in members] == [f"/v4/filer/volumes/{name}" for name in "abc"]
        assert {job["batch"] for job in members} == {three.rpartition("/")[2]}
        assert members[0]["request"] == {"volume": "a", "size_total": 10**9}
        assert {job["requested_by"] for job in members} == {"ann"}

    def test_a_member_beyond_the_parallel_limit_waits(self, front_end, client):
        front_end.services.scripts.worker_heartbeat("one@host", {"filer.write": 4})
        path = accepted(client.post(URL, json={"parallel": 1, "requests": [creation("a"), creation("b")]}))
        reasons = [job["queue"]["waiting_reason"] for job in members_of(client, path)]
        assert reasons == [None, "behind-jobs"]

    def test_a_batch_runs_while_its_members_do(self, client, worker, three):
        worker.carry_out(members_of(client, three)[0]["links"]["self"])
        batch = client.get(three).json
        assert (batch["state"], batch["progress"]["percent"], batch["children"]["succeeded"]) == ("running", 33, 1)
        # What is in doubt can be a member alone.
        problem(client.post(f"{three}/settle", json={"outcome": "failed"}), 409, "job-not-settling")

    def test_a_batch_over_several_subsystems_has_no_subsystem(self, client):
        other = {"method": "DELETE", "path": "/v4/other/volumes/x"}
        path = accepted(client.post(URL, json={"requests": [creation("a"), other]}))
        assert client.get(path).json["subsystem"] is None
        assert [job["subsystem"] for job in members_of(client, path)] == ["filer", "other"]

    def test_a_member_path_may_be_percent_encoded(self, client):
        snapshot = {"method": "POST", "path": "/v4/filer/volumes/%3A%2Fdb%30/snapshots/s"}
        path = accepted(client.post(URL, json={"requests": [snapshot]}))
        (member,) = members_of(client, path)
        assert (member["target"], member["request"]["volume"]) == ("/v4/filer/volumes/:/db0/snapshots/s", ":/db0")

    def test_hosts_of_members_are_normalized(self, client):
        lock = {"method": "PUT", "path": "/v4/filer/volumes/a/locks/NODE1"}
        path = accepted(client.post(URL, json={"requests": [lock]}))
        (member,) = members_of(client, path)
        assert (member["target"], member["request"]["host"]) == ("/v4/filer/volumes/a/locks/node1", "node1")

    def test_a_repeated_idempotency_key_returns_the_same_batch(self, client):
        body, headers = {"requests": [creation("a")]}, {"Idempotency-Key": "k"}
        first = client.post(URL, json=body, headers=headers)
        again = client.post(URL, json=body, headers=headers)
        assert (again.headers["Idempotency-Replayed"], accepted(again)) == ("true", accepted(first))
        other = client.post(URL, json={"requests": [creation("b")]}, headers=headers)
        problem(other, 422, "idempotency-key-reused")
        assert len(client.get("/v4/jobs?operation=create_volume").json) == 1

    def test_a_client_that_waits_gets_the_result(self, front_end, client, worker, redis_client):
        answers = []

        def ask() -> None:
            answers.append(
                front_end.client().post(URL, json={"requests": [creation("a")]}, headers={"Prefer": "wait=20"})
            )

        asking = threading.Thread(target=ask)
        asking.start()
        while not (jobs := client.get("/v4/jobs?operation=create_volume").json):
            pass
        worker.carry_out(jobs[0]["links"]["self"])
        asking.join(20)
        (answer,) = answers
        assert answer.status_code == 200
        assert [row["status"] for row in answer.json] == [201]
        assert answer.headers["Preference-Applied"] == "wait=20"
        assert answer.headers["Operation-Location"] == f"/v4/jobs/{jobs[0]['batch']}"
        assert "Retry-After" not in answer.headers


class TestCallback:
    def test_the_callback_is_sent_for_the_batch(self, redis_url, redis_client, monkeypatch):
        monkeypatch.setenv("SAPI_CALLBACK_HOSTS", "hooks.example.org")
        headers = {"Callback-URL": "https://hooks.example.org/x"}
        client = FrontEnd(redis_url).client()
        refused = client.post(URL, json={"requests": [creation("a")]}, headers=headers)
        assert "SAPI_CALLBACK_SECRET" in problem(refused, 422, "validation-failed")["detail"]
        redis_client.set("sapi:webhook_callbacks", "1")
        elsewhere = {"Callback-URL": "https://elsewhere.example.org/x"}
        refused = client.post(URL, json={"requests": [creation("a")]}, headers=elsewhere)
        assert "SAPI_CALLBACK_HOSTS" in problem(refused, 422, "validation-failed")["detail"]
        path = accepted(client.post(URL, json={"requests": [creation("a")]}, headers=headers))
        (member,) = members_of(client, path)
        sent_to = [
            redis_client.hget(f"sapi:job:{job_id}", "callback") for job_id in (path.rpartition("/")[2], member["id"])
        ]
        assert sent_to == [b"https://hooks.example.org/x", b""]
        # The listing from which volumes are chosen has none, and may be read first.
        request = {"method": "DELETE", "path": "/v4/filer/volumes/{name}"}
        order = {"for_each": {"subsystem": "filer", "where": ""}, "request": request}
        problem(client.post(URL, json=order, headers=headers | {"Prefer": "wait=0"}), 504, "not-cached")

    def test_the_callback_of_a_retry_is_sent_once(self, redis_url, redis_client, monkeypatch):
        monkeypatch.setenv("SAPI_CALLBACK_HOSTS", "hooks.example.org")
        redis_client.set("sapi:webhook_callbacks", "1")
        client: Any = FrontEnd(redis_url).client()
        headers = {"Callback-URL": "https://hooks.example.org/x"}
        path = accepted(client.post(URL, json={"requests": [creation("a"), creation("b")]}))
        assert client.post(f"{path}/cancel").json["state"] == "cancelled"
        again = accepted(client.post(f"{path}/retry", headers=headers))
        jobs = client.post("/v4/jobs/retry", json={"id": path.rpartition("/")[2]}, headers=headers).json["retried"]
        for batch_id in (again.rpartition("/")[2], *jobs):
            ids = [batch_id, *(member["id"] for member in members_of(client, f"/{batch_id}"))]
            sent_to = [redis_client.hget(f"sapi:job:{job_id}", "callback") for job_id in ids]
            assert sent_to == [b"https://hooks.example.org/x", b"", b""]

    def test_a_callback_to_a_host_that_is_not_allowed_is_refused(self, client):
        headers = {"Callback-URL": "https://hooks.example.org/x"}
        response = client.post(URL, json={"requests": [creation("a")]}, headers=headers)
        assert pointers(problem(response, 422, "validation-failed")) == ["/Callback-URL"]


class TestEnded:
    def test_the_result_has_a_response_for_each_member(self, client, mixed):
        response = client.get(f"{mixed}/result")
        assert response.status_code == 200
        assert (response.headers["Cache-Control"], response.headers["Operation-Location"]) == ("no-store", mixed)
        made, failed, gone = rows = response.json
        assert [row["job"] for row in rows] == [job["id"] for job in members_of(client, mixed)]
        assert (made["status"], made["location"], made["value"]["name"]) == (201, "/v4/filer/volumes/a", "a")
        assert (failed["status"], failed["problem"]["code"]) == (409, "already-exists")
        assert (gone["status"], gone["location"], gone["value"]) == (204, None, None)

    def test_a_member_without_a_response_body_has_no_value(self, client, carry_out):
        policy = {"method": "POST", "path": "/v4/filer/export/p", "body": {"rules": ["host"]}}
        rule = {"method": "DELETE", "path": "/v4/filer/export/p/rule/host"}
        path = accepted(client.post(URL, json={"requests": [policy, rule]}))
        carry_out(path)
        rows = [(row["status"], row["value"]) for row in client.get(f"{path}/result").json]
        assert rows == [(201, {"name": "p", "rules": ["host"]}), (204, None)]

    def test_the_batch_failed_and_says_why(self, client, mixed):
        batch = client.get(mixed).json
        assert (batch["state"], batch["error"]["code"], batch["error"]["retryable"]) == ("failed", "batch-failed", True)
        assert pointers(batch["error"]) == ["/requests/1"]
        assert "Retry-After" not in client.get(mixed).headers

    def test_an_unfinished_batch_has_no_result(self, client, three):
        response = client.get(f"{three}/result")
        problem(response, 409, "job-not-finished")
        assert int(response.headers["Retry-After"]) >= 1
        assert response.headers["Operation-Location"] == three

    def test_a_member_without_a_body_has_the_same_result_after_expiry(self, client, redis_client, mixed):
        redis_client.delete(*redis_client.keys("sapi:result:*"))
        rows = client.get(f"{mixed}/result").json
        assert [row["status"] for row in rows] == [410, 409, 204]
        assert rows[0]["problem"]["code"] == "result-expired"

    def test_a_cancelled_batch_has_a_result(self, client, three):
        assert client.post(f"{three}/cancel").json["state"] == "cancelled"
        assert [row["problem"]["code"] for row in client.get(f"{three}/result").json] == ["job-cancelled"] * 3

    def test_retry_repeats_the_members_that_did_not_succeed(self, client, mixed):
        again = client.get(accepted(client.post(f"{mixed}/retry"))).json
        assert (again["operation"], again["retry_of"], again["children"]["total"]) == (
            "batch",
            mixed.rpartition("/")[2],
            1,
        )
        (member,) = members_of(client, again["links"]["self"])
        assert member["request"]["junction_path"] == "/elsewhere"
        assert member["retry_of"] == members_of(client, mixed)[1]["id"]

    def test_a_batch_that_succeeded_cannot_be_retried(self, client, carry_out, three):
        carry_out(three)
        assert client.get(three).json["state"] == "succeeded"
        problem(client.post(f"{three}/retry"), 409, "job-not-retryable")

    def test_a_repeated_idempotency_key_retries_once(self, client, mixed, redis_client):
        key = {"Idempotency-Key": "again"}
        paths = {accepted(client.post(f"{mixed}/retry", headers=key)) for _ in range(2)}
        assert len(paths) == 1
        # Also when what was done again is kept no longer.
        redis_client.delete(*(f"sapi:job:{member['id']}" for member in members_of(client, mixed)))
        assert accepted(client.post(f"{mixed}/retry", headers=key)) in paths

    def test_retry_by_filter_repeats_members_with_their_batch_only(self, client, mixed):
        answer = client.post("/v4/jobs/retry", json={"state": "failed"}).json
        assert (len(answer["retried"]), answer["refused"]) == (1, [])
        assert len(client.get("/v4/jobs?operation=create_volume&state=queued").json) == 1

    def test_retry_requires_the_roles_of_all_members(self, front_end, mixed):
        problem(front_end.client(Role.ADMIN).post(f"{mixed}/retry"), 403, "missing-role")

    def test_by_filter_a_batch_is_cancelled_with_its_members(self, client, three):
        answer = client.post("/v4/jobs/cancel", json={"subsystem": "filer"}).json
        assert (len(answer["cancelled"]), answer["refused"]) == (4, [])

    def test_by_filter_the_batch_alone_is_cancelled_with_its_members_too(self, client, three):
        answer = client.post("/v4/jobs/cancel", json={"operation": "batch"}).json
        assert answer == {"cancelled": [three.rpartition("/")[2]], "refused": []}
        assert {job["state"] for job in members_of(client, three)} == {"cancelled"}


class TestSeen:
    def test_a_batch_is_visible_to_clients_with_all_its_roles(self, front_end, redis_client, mixed):
        redis_client.hset(f"sapi:job:{mixed.rpartition('/')[2]}", "requester_key", "somebody else's")
        assert front_end.client(Role.ADMIN, Role.UBER_ADMIN).get(mixed).status_code == 200
        problem(front_end.client(Role.ADMIN).get(mixed), 404, "no-such-job")
        problem(front_end.client(Role.ADMIN).get(f"{mixed}/result"), 404, "no-such-job")


def test_the_largest_values_are_accepted(client):
    path = accepted(client.post(URL, json={"name": "x" * 255, "parallel": 100, "requests": [creation("a")]}))
    assert client.get(path).json["request"] == {"name": "x" * 255, "parallel": 100, "on_failure": "continue"}


def test_a_request_may_have_a_thousand_members(client, redis_client):
    path = accepted(client.post(URL, json={"requests": [creation(f"v{number}") for number in range(1000)]}))
    assert client.get(path).json["children"]["queued"] == 1000
    assert redis_client.zcard("sapi:queued:filer.write") == 8
    for query, count in (("", 100), ("&limit=1000", 1000)):
        assert len(client.get(f"/v4/jobs?batch={path.rpartition('/')[2]}{query}").json) == count
    assert client.post(f"{path}/cancel").json["state"] == "cancelled"
    assert not [key for key in redis_client.keys("sapi:*") if b":ordering:" in key]
