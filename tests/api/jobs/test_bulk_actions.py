"""Cancelling and retrying all jobs that a filter names."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from api.jobs import bulk
from api.jobs.submit import submit
from tests.api.front_end import FrontEnd, accepted, pointers, problem
from worker.catalog.operations import CREATE_SNAPSHOT, Role
from worker.jobs.service import Jobs, NewJob
from worker.store.results import CancelResult

URL = "/v4/filer/volumes/db01"


class TestMany:
    """Cancelling and doing again by filter."""

    @pytest.fixture
    def ids(self, client):
        """Three queued jobs, the newest first."""
        paths = [accepted(client.post(f"/v4/filer/volumes/{name}")) for name in ("a", "b", "c")]
        return [path.rpartition("/")[2] for path in reversed(paths)]

    @pytest.mark.parametrize(
        ("result", "code"),
        [
            (CancelResult.TOO_LATE, "job-not-cancellable"),
            (CancelResult.SHARED, "job-shared"),
            (CancelResult.GONE, "job-expired"),
        ],
    )
    def test_a_job_that_cannot_be_cancelled_is_refused(self, client, queued, monkeypatch, result, code):
        monkeypatch.setattr(Jobs, "cancel", lambda *_: result)
        refused = [{"id": queued.rpartition("/")[2], "code": code}]
        assert client.post("/v4/jobs/cancel", json={"state": ["queued"]}).json == {"cancelled": [], "refused": refused}

    def test_matching_jobs_are_cancelled(self, client, worker, ids):
        worker.carry_out(f"/v4/jobs/{ids[2]}")
        answer = client.post("/v4/jobs/cancel", json={"operation": ["delete_policy", "create_volume"]}).json
        assert answer == {
            "cancelled": ids[:2],
            "refused": [{"id": ids[2], "code": "job-not-cancellable"}],
        }
        assert [client.get(f"/v4/jobs/{job_id}").json["state"] for job_id in ids[:2]] == ["cancelled"] * 2
        again = client.post("/v4/jobs/cancel", json={"id": ids}).json
        assert again["cancelled"] == []
        assert [refusal["code"] for refusal in again["refused"]] == ["job-not-cancellable"] * 3

    def test_the_audit_log_names_each_cancelled_or_retried_job(self, front_end, client, ids, request):
        other = front_end.client(Role.UBER_ADMIN)
        # Applications set the handlers of the audit log when they are made.
        audit = request.getfixturevalue("audit")
        again = [client.post(f"/v4/jobs/{action}", json={"id": ids[:2]}).json for action in ("cancel", "retry")]
        other.post("/v4/jobs/retry", json={"id": ids[:1], "all": True})
        named = [(line["operation"], line["target"], line["job_id"]) for line in audit() if "job_id" in line][-5:]
        targets = ["/v4/filer/volumes/c", "/v4/filer/volumes/b"]
        assert named == [
            *zip(["cancel_job"] * 2, targets, ids, strict=False),
            *zip(["retry_job"] * 2, targets, again[1]["retried"], strict=True),
            ("retry_job", targets[0], ids[0]),
        ]
        refused = audit()[-2]
        assert (refused["allowed"], refused["reason"], refused["who"]) == (False, "missing-role", "ann")
        # The request has a line of its own, too.
        assert audit()[-1]["target"] == "/v4/jobs/retry"

    def test_other_jobs_are_not_cancelled(self, client, ids):
        assert client.post("/v4/jobs/cancel", json={"volume": "b", "state": ["queued"]}).json["cancelled"] == [ids[1]]
        assert [client.get(f"/v4/jobs/{job_id}").json["state"] for job_id in (ids[0], ids[2])] == ["queued"] * 2

    def test_beyond_the_limit_unfinished_jobs_come_first(self, client, ids, monkeypatch):
        for job_id in ids[:2]:
            client.post(f"/v4/jobs/{job_id}/cancel")
        monkeypatch.setattr(bulk, "MOST_JOBS", 2)
        assert client.post("/v4/jobs/cancel", json={"subsystem": "filer"}).json == {
            "cancelled": [ids[2]],
            "refused": [{"id": ids[0], "code": "job-not-cancellable"}],
        }
        client.post("/v4/filer/volumes/d")
        monkeypatch.setattr(bulk, "MOST_JOBS", 1)
        answer = client.post("/v4/jobs/cancel", json={"subsystem": "filer"}).json
        assert (len(answer["cancelled"]), answer["refused"]) == (1, [])

    def test_a_running_job_is_requested_to_stop(self, client, worker, queued):
        worker.take(queued)
        answer = client.post("/v4/jobs/cancel", json={"state": ["running"]}).json
        assert answer == {"cancelled": [queued.rpartition("/")[2]], "refused": []}
        assert client.get(queued).json["state"] == "cancelling"

    def test_a_state_alone_is_a_sufficient_filter(self, client, ids):
        for states in (["running", "failed"], ["running"], ["failed"]):
            answer = client.post("/v4/jobs/cancel", json={"state": states}).json
            assert answer == {"cancelled": [], "refused": []}

    def test_own_jobs_are_cancelled_without_a_higher_role(self, front_end, redis_client, ids):
        answer = front_end.client(Role.ADMIN).post("/v4/jobs/cancel", json={"id": ids[0]}).json
        assert answer == {"cancelled": [ids[0]], "refused": []}
        front_end.client(Role.ADMIN).post(f"/v4/jobs/{ids[1]}/cancel")
        names = [redis_client.hget(f"sapi:job:{job_id}", "cancelled_by") for job_id in ids]
        assert names == [b"ann", b"ann", None]

    def test_a_job_that_cannot_be_retried_is_refused_with_the_reason(self, client, ids):
        client.post("/v4/filer/volumes/x", headers={"Idempotency-Key": f"again {ids[0]}"})
        client.post(f"/v4/jobs/{ids[0]}/cancel")
        answer = client.post("/v4/jobs/retry", json={"id": ids[0]}, headers={"Idempotency-Key": "again"}).json
        assert answer == {"retried": [], "refused": [{"id": ids[0], "code": "idempotency-key-reused"}]}

    def test_failed_and_cancelled_jobs_are_retried(self, client, worker, ids):
        client.post(f"/v4/jobs/{ids[0]}/cancel")
        worker.carry_out(f"/v4/jobs/{ids[1]}")
        answer = client.post("/v4/jobs/retry", json={"subsystem": "filer"}).json
        (again,) = answer["retried"]
        assert client.get(f"/v4/jobs/{again}").json["retry_of"] == ids[0]
        refused = {refusal["id"]: refusal["code"] for refusal in answer["refused"]}
        assert refused == {ids[1]: "job-not-retryable", ids[2]: "job-not-finished"}

    def test_an_old_job_is_found_by_its_id(self, client, ids, monkeypatch):
        client.post(f"/v4/jobs/{ids[2]}/cancel")
        monkeypatch.setattr(bulk, "MOST_JOBS", 1)
        answer = client.post("/v4/jobs/retry", json={"id": ids[2]}).json
        assert (len(answer["retried"]), answer["refused"]) == (1, [])

    def test_a_repeated_idempotency_key_makes_no_new_jobs(self, client, redis_client, ids):
        for job_id in ids:
            client.post(f"/v4/jobs/{job_id}/cancel")
        body, headers = {"id": ids}, {"Idempotency-Key": "again"}
        first = client.post("/v4/jobs/retry", json=body, headers=headers).json["retried"]
        keys = redis_client.keys("sapi:idem:*")
        assert len([redis_client.pexpire(key, 60_000) for key in keys]) == 4
        assert client.post("/v4/jobs/retry", json=body, headers=headers).json["retried"] == first
        assert len(set(first)) == 3
        # They are known for a day from their first use.
        assert max(redis_client.pttl(key) for key in keys) <= 60_000

    def test_a_repeated_idempotency_key_selects_the_same_jobs(self, client, ids):
        client.post(f"/v4/jobs/{ids[0]}/cancel")
        body, headers = {"id": ids}, {"Idempotency-Key": "again"}
        first = client.post("/v4/jobs/retry", json=body, headers=headers).json
        client.post(f"/v4/jobs/{ids[1]}/cancel")
        assert client.post("/v4/jobs/retry", json=body, headers=headers).json == first
        assert (len(first["retried"]), len(first["refused"])) == (1, 2)
        for path, other in (("jobs/retry", {"id": ids[:2]}), ("filer/volumes/a", {})):
            reused = client.post(f"/v4/{path}", json=other, headers=headers)
            problem(reused, 422, "idempotency-key-reused")
            # It made several jobs, or none.
            assert "Operation-Location" not in reused.headers

    def test_of_simultaneous_requests_with_one_key_the_first_selection_counts(self, client, ids, monkeypatch):
        client.post(f"/v4/jobs/{ids[0]}/cancel")
        body, headers = {"id": ids}, {"Idempotency-Key": "again"}
        first = client.post("/v4/jobs/retry", json=body, headers=headers).json
        client.post(f"/v4/jobs/{ids[1]}/cancel")
        # The second one looked for a choice before the first had recorded its own.
        monkeypatch.setattr(bulk, "known_request", lambda _key: None)
        assert client.post("/v4/jobs/retry", json=body, headers=headers).json == first

    def test_without_a_key_each_request_selects_jobs_again(self, client, ids):
        for job_id in ids:
            client.post(f"/v4/jobs/{job_id}/cancel")
        answers = [client.post("/v4/jobs/retry", json={"id": chosen}).json for chosen in (ids[:1], ids[:1], ids[1:])]
        assert [(len(answer["retried"]), answer["refused"]) for answer in answers] == [(1, []), (1, []), (2, [])]

    @pytest.mark.parametrize("made", [0, 1])
    def test_an_error_of_redis_says_whether_jobs_may_have_been_accepted(self, client, ids, monkeypatch, made):
        for job_id in ids:
            client.post(f"/v4/jobs/{job_id}/cancel")
        accept, requests = Jobs.accept, list[NewJob]()

        def away_after(jobs, new):
            if len(requests) == made:
                raise RedisConnectionError("away")
            requests.append(new)
            return accept(jobs, new)

        monkeypatch.setattr(Jobs, "accept", away_after)
        answer = problem(client.post("/v4/jobs/retry", json={"id": ids}), 503, "queue-unavailable")
        assert (answer["retryable"], "may have been accepted" in answer["detail"]) == (made == 0, made == 1)

    def test_a_job_without_a_record_cannot_be_retried(self, client, redis_client, ids):
        client.post(f"/v4/jobs/{ids[0]}/cancel")
        answers = []
        for _ in range(2):
            again = client.post("/v4/jobs/retry", json={"id": ids[0]}, headers={"Idempotency-Key": "again"}).json
            answers.append((len(again["retried"]), again["refused"]))
            redis_client.delete(f"sapi:job:{ids[0]}")
        assert answers == [(1, []), (0, [{"id": ids[0], "code": "job-expired"}])]

    def test_a_job_that_has_expired_meanwhile_cannot_be_cancelled(self, client, redis_client, monkeypatch, queued):
        def end(_jobs, job_id, _name):
            redis_client.delete(f"sapi:job:{job_id}")
            return CancelResult.TOO_LATE

        monkeypatch.setattr(Jobs, "cancel", end)
        answer = client.post("/v4/jobs/cancel", json={"state": ["queued"]}).json
        assert answer["refused"] == [{"id": queued.rpartition("/")[2], "code": "job-not-cancellable"}]

    @pytest.mark.parametrize("action", ["cancel", "retry"])
    def test_a_filter_is_required(self, client, action):
        for body in ({}, {"all": True}):
            assert pointers(problem(client.post(f"/v4/jobs/{action}", json=body), 422, "validation-failed")) == [""]

    def test_invalid_fields_are_reported(self, client):
        document = problem(client.post("/v4/jobs/cancel", json={"state": "odd", "colour": 1}), 422, "validation-failed")
        assert sorted(pointers(document)) == ["/colour", "/state"]

    def test_retry_requires_the_role_of_the_operation(self, front_end, client, worker, failed):
        job_id = failed.rpartition("/")[2]
        answer = front_end.client(Role.ADMIN).post("/v4/jobs/retry", json={"id": job_id}).json
        assert answer == {"retried": [], "refused": [{"id": job_id, "code": "missing-role"}]}

    def test_jobs_of_others_are_retried_with_the_role_of_the_operation(self, front_end, client, redis_client, ids):
        client.post(f"/v4/jobs/{ids[0]}/cancel")
        redis_client.hset(f"sapi:job:{ids[0]}", mapping={"requester": "bob", "requester_key": "bob"})
        answer = front_end.client(Role.ADMIN).post("/v4/jobs/retry", json={"id": ids[0], "all": True}).json
        assert (len(answer["retried"]), answer["refused"]) == (1, [])

    def test_jobs_of_others_are_cancelled_with_uber_admin_only(self, front_end, redis_client, ids):
        redis_client.hset(
            f"{front_end.settings.key_prefix}job:{ids[0]}", mapping={"requester": "bob", "requester_key": "bob"}
        )
        body = {"id": ids[0], "all": True}
        answer = front_end.client(Role.ADMIN).post("/v4/jobs/cancel", json=body).json
        assert answer["refused"] == [{"id": ids[0], "code": "missing-role"}]
        assert front_end.client(Role.UBER_ADMIN).post("/v4/jobs/cancel", json=body).json["cancelled"] == [ids[0]]
        assert redis_client.hget(f"{front_end.settings.key_prefix}job:{ids[0]}", "cancelled_by") == b"ann"

    def test_anonymous_requests_are_refused(self, front_end):
        problem(front_end.stranger().post("/v4/jobs/cancel", json={"volume": "a"}), 401, "unauthenticated")


def test_a_view_with_wrong_arguments_makes_no_job(front_end: FrontEnd, redis_client: Redis):
    for arguments in ({"volume": "v"}, {"volume": "v", "name": "s", "size": 1}):
        with front_end.app().test_request_context("/", method="POST"), pytest.raises(TypeError):
            submit(CREATE_SNAPSHOT, "filer", arguments)
    assert redis_client.keys("sapi:job:*") == []
