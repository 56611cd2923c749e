"""Batches that are retried keep their settings; and results of members whose own results have expired."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import redis

from api.batches import planning, submit
from api.http.problems import Problem
from api.jobs import submit as job_submit
from tests.api.front_end import FrontEnd, Worker, accepted, problem
from worker.jobs.batches import Batches
from worker.jobs.record import State
from worker.store.results import SubmitOutcome

URL = "/v4/batches"


def _batch(client: Any, *names: str, **terms: Any) -> str:
    """Submit a batch of creations; the path of its job."""
    requests = [
        {"method": "POST", "path": f"/v4/filer/volumes/{name}", "body": {"size_total": 10**9}} for name in names
    ]
    return accepted(client.post(URL, json={"requests": requests, **terms}))


def _cancelled(client: Any, *names: str, **terms: Any) -> str:
    path = _batch(client, *names, **terms)
    assert client.post(f"{path}/cancel").json["state"] == "cancelled"
    return path


def test_a_retry_keeps_the_settings_of_the_batch(client: Any, redis_client: Any):
    path = _cancelled(client, "a", "b", "c", on_failure="stop", parallel=2)
    again = client.get(accepted(client.post(f"{path}/retry"))).json
    assert again["children"]["total"] == 3
    assert (again["request"]["on_failure"], again["request"]["parallel"]) == ("stop", 2)
    assert again["request"]["retries"] == path.rpartition("/")[2]
    for batch_id in (path.rpartition("/")[2], again["id"]):
        assert redis_client.hmget(f"sapi:job:{batch_id}", "on_failure", "parallel") == [b"stop", b"2"]


def test_a_repeated_idempotency_key_retries_each_of_several_batches_once(client: Any):
    for name in ("a", "b"):
        _cancelled(client, name)
    filters, headers = {"operation": "batch", "state": "cancelled"}, {"Idempotency-Key": "all"}
    first, second = (client.post("/v4/jobs/retry", json=filters, headers=headers).json for _ in range(2))
    assert len(set(first["retried"])) == 2
    assert set(second["retried"]) == set(first["retried"])
    # Without a key each request makes new ones.
    jobs = {"id": first["retried"][0]}
    assert client.post("/v4/jobs/cancel", json=jobs).json["cancelled"] == [jobs["id"]]
    made = [client.post("/v4/jobs/retry", json=jobs).json["retried"] for _ in range(2)]
    assert len({job_id for (job_id,) in made}) == 2


@pytest.mark.parametrize("gone", [1, 2])
def test_a_batch_that_cannot_be_retried_completely_is_not_retried(client: Any, redis_client: Any, gone: int):
    """A client that retries a batch takes it for complete when the new one has succeeded."""
    path = _cancelled(client, "a", "b")
    for member in client.get(f"/v4/jobs?batch={path.rpartition('/')[2]}").json[:gone]:
        redis_client.delete(f"sapi:job:{member['id']}")
    detail = problem(client.post(f"{path}/retry"), 410, "job-expired")["detail"]
    assert detail.startswith(f"The records of {gone} of the members")
    assert client.get("/v4/jobs?operation=batch&state=queued").json == []


def test_a_batch_is_retried_without_the_records_of_succeeded_members(client: Any, worker: Worker, redis_client: Any):
    path = _batch(client, "a", "b")
    failed, succeeded = (job["id"] for job in client.get(f"/v4/jobs?batch={path.rpartition('/')[2]}").json)
    worker.carry_out(f"/v4/jobs/{succeeded}")
    worker.fail(f"/v4/jobs/{failed}", "backend-error")
    redis_client.delete(f"sapi:job:{succeeded}")
    assert client.get(accepted(client.post(f"{path}/retry"))).json["children"]["total"] == 1


def test_an_idempotency_key_outlives_the_record_of_its_batch(client: Any, redis_client: Any):
    requests = {"requests": [{"method": "DELETE", "path": "/v4/filer/volumes/a"}]}
    headers = {"Idempotency-Key": "k"}
    path = accepted(client.post(URL, json=requests, headers=headers))
    redis_client.delete(f"sapi:job:{path.rpartition('/')[2]}")
    answer = problem(client.post(URL, json=requests, headers=headers), 410, "job-expired")
    assert "Idempotency-Key" in answer["detail"]


def test_members_of_a_removed_subsystem_are_not_retried(redis_url: str, client: Any):
    """No worker would ever begin it."""
    path = _cancelled(client, "a")
    (member,) = client.get(f"/v4/jobs?batch={path.rpartition('/')[2]}").json
    smaller = FrontEnd(redis_url)
    smaller.services = replace(smaller.services, subsystems=("other",))
    now = smaller.client()
    for job in (path, member["links"]["self"]):
        refused = problem(now.post(f"{job}/retry"), 404, "no-such-subsystem")
        assert "filer is not configured any more" in refused["detail"]
    answer = now.post("/v4/jobs/retry", json={"id": member["id"]}).json
    assert answer == {"retried": [], "refused": [{"id": member["id"], "code": "no-such-subsystem"}]}


def test_of_simultaneous_requests_with_one_key_the_first_choice_is_used(
    front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(job_submit, "principal", lambda: SimpleNamespace(owner="ann"))
    app = front_end.app()
    with app.test_request_context(URL, method="POST", json={"a": 1}):
        assert job_submit.freeze_choice("key", ["x"]) == ["x"]
        assert job_submit.freeze_choice("key", ["y"]) == ["x"]
    with app.test_request_context(URL, method="POST", json={"a": 2}), pytest.raises(Problem) as refused:
        job_submit.freeze_choice("key", ["x"])
    assert refused.value.code == "idempotency-key-reused"


def test_an_expired_result_is_reported_as_expired(client: Any, worker: Worker, redis_client: Any):
    path = _batch(client, "a")
    (member,) = client.get(f"/v4/jobs?batch={path.rpartition('/')[2]}").json
    worker.carry_out(member["links"]["self"])
    redis_client.delete(f"sapi:result:{member['id']}")
    (row,) = client.get(f"{path}/result").json
    assert (row["status"], row["problem"]["code"]) == (410, "result-expired")
    assert row["problem"]["instance"] == member["links"]["self"]
    redis_client.delete(f"sapi:job:{member['id']}")
    (row,) = client.get(f"{path}/result").json
    assert (row["job"], row["status"], row["problem"]["code"]) == (member["id"], 410, "job-expired")


def test_each_problem_has_the_id_of_the_request_that_made_the_member(client: Any, worker: Worker, redis_client: Any):
    """Whoever reports it names that id, with which the log is searched."""
    path = _batch(client, "a", "b", "c")
    members = client.get(f"/v4/jobs?batch={path.rpartition('/')[2]}").json[::-1]
    failed, done, cancelled = members
    worker.fail(failed["links"]["self"], "backend-error")
    worker.carry_out(done["links"]["self"])
    redis_client.delete(f"sapi:result:{done['id']}")
    client.post(f"/v4/jobs/{cancelled['id']}/cancel")
    problems = [row["problem"] for row in client.get(f"{path}/result").json]
    assert [row["code"] for row in problems] == ["backend-error", "result-expired", "job-cancelled"]
    assert [row.get("request_id") for row in problems] == [member["request_id"] for member in members]


def test_the_time_of_the_choice_is_part_of_the_wait(client: Any, monkeypatch: pytest.MonkeyPatch):
    clock, waits, plan = [100.0], [], planning.plan

    def plan_for_seven_seconds(members: Any) -> Any:
        clock[0] += 7
        return plan(members)

    monkeypatch.setattr(submit, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(submit, "plan", plan_for_seven_seconds)
    monkeypatch.setattr(submit, "wait_for_end", lambda _services, _job_id, wait_s: waits.append(wait_s))
    requests = [{"method": "POST", "path": "/v4/filer/volumes/a", "body": {}}]
    headers = {"Prefer": "wait=10", "Idempotency-Key": "k"}
    for _ in range(2):
        accepted(client.post(URL, json={"requests": requests}, headers=headers))
    # Of what is known already nothing is chosen.
    assert waits == [3.0, 10.0]


@pytest.mark.parametrize(("headers", "wait_s"), [({}, 2.0), ({"Prefer": "wait=7"}, 7.0)])
def test_the_choice_waits_as_long_as_the_request_may(
    client: Any, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], wait_s: float
):
    read = Mock(side_effect=Problem("not-cached", "Nothing is at hand."))
    monkeypatch.setattr(submit, "parse_batch_request", read)
    requests = [{"method": "POST", "path": "/v4/filer/volumes/a", "body": {}}]
    problem(client.post(URL, json={"requests": requests}, headers=headers), 504, "not-cached")
    assert read.call_args.args[1] == wait_s


def test_a_batch_is_accepted_though_waiting_for_its_end_fails(client: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(submit, "wait_for_end", Mock(side_effect=redis.TimeoutError("slow")))
    requests = [{"method": "POST", "path": "/v4/filer/volumes/a", "body": {}}]
    headers = {"Prefer": "respond-async, wait=10", "Idempotency-Key": "k"}
    response, again = (client.post(URL, json={"requests": requests}, headers=headers) for _ in range(2))
    assert client.get(accepted(response)).json["operation"] == "batch"
    assert "respond-async" in response.headers["Preference-Applied"]
    assert (accepted(again), again.headers["Idempotency-Replayed"]) == (accepted(response), "true")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthenticated"), (403, "missing-role"), (429, "rate-limited"), (500, "internal-error"),
        (503, "queue-unavailable"),
    ],
)  # fmt: skip
def test_an_error_of_the_service_is_not_reported_as_one_of_a_member(
    client: Any, monkeypatch: pytest.MonkeyPatch, status: int, code: str
):
    monkeypatch.setattr(job_submit, "new_job", Mock(side_effect=Problem(code, "It is so.")))
    requests = [{"method": "POST", "path": "/v4/filer/volumes/a", "body": {}}]
    problem(client.post(URL, json={"requests": requests}), status, code)


def test_an_invalid_field_of_a_member_is_reported_in_its_body(client: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(job_submit, "new_job", Mock(side_effect=Problem("not-supported", "It cannot be.")))
    requests = [{"method": "POST", "path": "/v4/filer/volumes/a", "body": {}}]
    (error,) = problem(client.post(URL, json={"requests": requests}), 422, "validation-failed")["errors"]
    assert error == {"pointer": "/requests/0/body", "detail": "It cannot be."}


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_a_batch_that_was_discarded_is_not_accepted(
    client: Any, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
):
    monkeypatch.setattr(Batches, "accept", lambda *_: (SubmitOutcome.CHANGED, "", None))
    requests = [{"method": "POST", "path": "/v4/filer/volumes/a", "body": {}}]
    response = client.post(URL, json={"requests": requests}, headers=headers)
    assert "Nothing was accepted" in problem(response, 503, "queue-unavailable")["detail"]
    assert int(response.headers["Retry-After"]) > 0


def test_the_problem_of_a_failed_member_has_the_request_id(client: Any, worker: Worker):
    path = _batch(client, "a")
    (member,) = client.get(f"/v4/jobs?batch={path.rpartition('/')[2]}").json
    worker.fail(member["links"]["self"], "backend-error")
    assert client.get(path).json["state"] == State.FAILED
    (row,) = client.get(f"{path}/result").json
    assert row["problem"]["request_id"] == client.get(path).json["request_id"]
    problem(client.get(f"{member['links']['self']}/result"), 502, "backend-error")


@pytest.mark.parametrize(
    ("end", "is_query"), [("?size_total=1", True), ("#top", True), ("%3Fsize_total=1", False), ("%23top", False)]
)
def test_a_member_path_with_query_or_fragment_is_refused(client: Any, end: str, is_query: bool):
    """Encoded, the characters are part of the name, which may not have them either."""
    requests = [{"method": "POST", "path": f"/v4/filer/volumes/a{end}", "body": {}}]
    (error,) = problem(client.post(URL, json={"requests": requests}), 422, "validation-failed")["errors"]
    assert error["pointer"] == "/requests/0/path"
    assert (error["detail"] == "must have no query and no fragment") is is_query


def test_a_failed_member_of_a_running_batch_is_retried_alone(client: Any, worker: Worker):
    path = _batch(client, "a", "b")
    waiting, failed = (job["id"] for job in client.get(f"/v4/jobs?batch={path.rpartition('/')[2]}").json)
    worker.fail(f"/v4/jobs/{failed}", "backend-error")
    answer = client.post("/v4/jobs/retry", json={"subsystem": "filer"}).json
    assert [client.get(f"/v4/jobs/{job_id}").json["retry_of"] for job_id in answer["retried"]] == [failed]
    assert {refused["id"]: refused["code"] for refused in answer["refused"]} == dict.fromkeys(
        (path.rpartition("/")[2], waiting), "job-not-finished"
    )
