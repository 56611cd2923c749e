"""What may be done to a job: cancel it, retry it, settle it; and who may."""

from __future__ import annotations

import pytest

from tests.api.front_end import accepted, problem
from worker.catalog.operations import Role
from worker.jobs.query import key_of

URL = "/v4/filer/volumes/db01"


class TestCancel:
    def test_a_queued_job_never_starts(self, client, queued):
        response = client.post(f"{queued}/cancel")
        assert (response.status_code, response.json["state"]) == (200, "cancelled")

    def test_a_running_job_is_requested_to_stop(self, client, worker, queued):
        worker.take(queued)
        response = client.post(f"{queued}/cancel")
        assert (response.status_code, response.json["state"]) == (202, "cancelling")

    def test_a_finished_job_cannot_be_cancelled(self, client, succeeded):
        problem(client.post(f"{succeeded}/cancel"), 409, "job-not-cancellable")

    def test_a_shared_read_cannot_be_cancelled(self, client):
        headers = {"Prefer": "respond-async"}
        path = accepted(client.get("/v4/filer/volumes", headers=headers))
        assert accepted(client.get("/v4/filer/volumes", headers=headers)) == path
        problem(client.post(f"{path}/cancel"), 409, "job-shared")

    def test_anonymous_requests_are_refused(self, front_end, queued):
        problem(front_end.stranger().post(f"{queued}/cancel"), 401, "unauthenticated")

    def test_cancelling_a_job_of_another_user_requires_uber_admin(self, front_end, redis_client, queued):
        record = f"{front_end.settings.key_prefix}job:{queued.rpartition('/')[2]}"
        redis_client.hset(record, mapping={"requester": "bob", "requester_key": "bob"})
        problem(front_end.client(Role.ADMIN).post(f"{queued}/cancel"), 403, "missing-role")
        assert front_end.client(Role.ADMIN, Role.UBER_ADMIN).post(f"{queued}/cancel").status_code == 200
        assert redis_client.hget(record, "cancelled_by") == b"ann"


class TestRetry:
    @pytest.mark.parametrize("action", ["cancel", "retry"])
    def test_a_body_with_fields_is_refused(self, client, queued, failed, action):
        path = queued if action == "cancel" else failed
        before = client.get(path).json["state"]
        document = problem(client.post(f"{path}/{action}", json={"force": True}), 422, "validation-failed")
        assert document["errors"][0]["pointer"] == "/force"
        assert client.get(path).json["state"] == before
        assert len(client.get("/v4/jobs?operation=restrict_volume").json) == 1

    def test_a_failed_job_is_retried_as_a_new_job(self, client, failed):
        again = client.get(accepted(client.post(f"{failed}/retry"))).json
        assert again["retry_of"] == failed.rpartition("/")[2]
        assert again["operation"] == "restrict_volume"

    def test_a_retry_by_path_is_the_same_request(self, client):
        body = {"name": "v", "comment": "x"}
        path = accepted(client.post("/v4/filer/volumes/:/somewhere", json=body))
        client.post(f"{path}/cancel")
        again = accepted(client.post(f"{path}/retry"))
        first, second = client.get(path).json, client.get(again).json
        assert (second["request"], second["target"]) == (first["request"], "/v4/filer/volumes/:/somewhere")
        assert [job["id"] for job in client.get("/v4/jobs?volume=:/somewhere").json] == [second["id"], first["id"]]

    def test_a_read_is_retried_with_its_query(self, client, worker, succeeded):
        headers = {"Prefer": "respond-async", "Cache-Control": "no-cache"}
        path = accepted(client.get("/v4/filer/volumes?fields=name", headers=headers))
        client.post(f"{path}/cancel")
        again = accepted(client.post(f"{path}/retry"))
        worker.carry_out(again)
        assert {frozenset(volume) for volume in client.get(f"{again}/result").json} == {frozenset({"name"})}

    def test_an_unfinished_job_cannot_be_retried(self, client, queued):
        response = client.post(f"{queued}/retry")
        problem(response, 409, "job-not-finished")
        assert "Retry-After" in response.headers

    def test_a_succeeded_job_cannot_be_retried(self, client, succeeded):
        problem(client.post(f"{succeeded}/retry"), 409, "job-not-retryable")

    def test_retry_requires_the_role_of_the_operation(self, front_end, failed):
        problem(front_end.client(Role.USER, Role.ADMIN).post(f"{failed}/retry"), 403, "missing-role")


class TestSettle:
    @pytest.fixture
    def lose_worker(self, redis_client, worker):
        """Takes the worker of a change away, so that its outcome is being looked for."""

        def lose(path):
            worker.take(path)
            redis_client.hset(f"sapi:job:{path.rpartition('/')[2]}", "in_doubt_since", "1")
            return path

        return lose

    @pytest.fixture
    def settling(self, lose_worker, queued):
        """A change whose outcome is being looked for."""
        return lose_worker(queued)

    @pytest.mark.parametrize(
        ("outcome", "state", "code", "retryable"),
        [
            ("succeeded", "succeeded", None, None),
            ("failed", "failed", "worker-lost", True),
            ("unknown", "failed", "outcome-unknown", False),
        ],
    )
    def test_settling_ends_the_job(self, client, settling, outcome, state, code, retryable):
        job = client.post(f"{settling}/settle", json={"outcome": outcome}).json
        assert job["state"] == state
        assert [(job["error"] or {}).get(name) for name in ("code", "retryable")] == [code, retryable]

    def test_another_job_cannot_be_settled(self, client, queued):
        problem(client.post(f"{queued}/settle", json={"outcome": "failed"}), 409, "job-not-settling")

    @pytest.mark.parametrize(
        ("outcome", "volume"), [("succeeded", "a"), ("failed", "a"), ("unknown", "a"), ("unknown", ":/a")]
    )
    def test_listings_are_invalid_after_settling(self, client, worker, lose_worker, redis_client, outcome, volume):
        settling = lose_worker(accepted(client.patch(f"/v4/filer/volumes/{volume}", json={"comment": "x"})))
        worker.carry_out(accepted(client.get("/v4/filer/volumes", headers={"Prefer": "respond-async"})))
        cached = {"Cache-Control": "only-if-cached, max-stale"}
        assert client.get("/v4/filer/volumes", headers=cached).status_code == 200
        client.post(f"{settling}/settle", json={"outcome": outcome})
        problem(client.get("/v4/filer/volumes", headers=cached), 504, "not-cached")
        # A listing is known by the volume's name, and none is recorded under a path.
        listings = redis_client.keys("sapi:listing:*")
        assert (bool(listings), [key for key in listings if b":/" in key]) == (True, [])

    def test_listings_of_the_volume_are_invalid_after_settling(self, client, worker, lose_worker):
        worker.carry_out(accepted(client.post("/v4/filer/volumes/a")))
        snapshots = "/v4/filer/volumes/a/snapshots"
        settling = lose_worker(accepted(client.post(f"{snapshots}/s")))
        worker.carry_out(accepted(client.get(snapshots, headers={"Prefer": "respond-async"})))
        cached = {"Cache-Control": "only-if-cached, max-stale"}
        assert client.get(snapshots, headers=cached).status_code == 200
        client.post(f"{settling}/settle", json={"outcome": "unknown"})
        problem(client.get(snapshots, headers=cached), 504, "not-cached")

    def test_settling_requires_uber_admin(self, front_end, settling):
        response = front_end.client(Role.USER, Role.ADMIN).post(f"{settling}/settle", json={"outcome": "failed"})
        problem(response, 403, "missing-role")


class TestWhoMay:
    """Each action by each caller: 404 where one may not see the job, 403 where one may, and lacks the role."""

    _ACTIONS = (("cancel", None), ("retry", None), ("settle", {"outcome": "failed"}))

    @pytest.mark.parametrize(
        ("roles", "refusals"),
        [
            (
                (),
                {"cancel": (401, "unauthenticated"), "retry": (404, "no-such-job"), "settle": (401, "unauthenticated")},
            ),
            ((Role.USER,), dict.fromkeys(("cancel", "retry", "settle"), (404, "no-such-job"))),
            (
                (Role.USER, Role.ADMIN),
                {"cancel": (403, "missing-role"), "retry": (409, "job-not-finished"), "settle": (403, "missing-role")},
            ),
            (
                (Role.UBER_ADMIN,),
                {"retry": (403, "missing-role"), "settle": (409, "job-not-settling"), "cancel": (200, "")},
            ),
        ],
        ids=lambda value: "+".join(value) or "nobody" if isinstance(value, tuple) else "",
    )
    def test_actions_on_a_job_of_another_user_depend_on_roles(self, front_end, redis_client, client, roles, refusals):
        path = accepted(client.post("/v4/filer/volumes/a"))
        fields = {"requester": "bob", "requester_key": key_of("bob")}
        redis_client.hset(f"{front_end.settings.key_prefix}job:{path.rpartition('/')[2]}", mapping=fields)
        caller = front_end.client(*roles) if roles else front_end.stranger()
        for action, body in sorted(self._ACTIONS, key=lambda each: list(refusals).index(each[0])):
            response = caller.post(f"{path}/{action}", json=body)
            status, code = refusals[action]
            assert (response.status_code, response.json.get("code", "")) == (status, code), action

    def test_refused_actions_are_in_the_audit_log(self, front_end, redis_client, queued, request):
        admin = front_end.client(Role.ADMIN)
        # Applications set the handlers of the audit log when they are made.
        audit = request.getfixturevalue("audit")
        fields = {"requester": "bob", "requester_key": key_of("bob")}
        redis_client.hset(f"{front_end.settings.key_prefix}job:{queued.rpartition('/')[2]}", mapping=fields)
        problem(admin.post(f"{queued}/cancel"), 403, "missing-role")
        expected = {"operation": "cancel_job", "target": URL, "who": "ann", "role": "UBER_ADMIN"}
        assert (expected | {"allowed": False, "status": 403}).items() <= audit()[-1].items()

    def test_the_job_and_the_role_are_checked_before_the_body(self, front_end, redis_client, client):
        path = accepted(client.post("/v4/filer/volumes/a"))
        problem(front_end.client(Role.USER, Role.ADMIN).post(f"{path}/settle", json={"odd": 1}), 403, "missing-role")
        nowhere = "/v4/jobs/01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90"
        problem(front_end.client(Role.UBER_ADMIN).post(f"{nowhere}/settle", json={"odd": 1}), 404, "no-such-job")
