"""Jobs as their clients see them."""

from __future__ import annotations

import base64
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from api.jobs import bulk
from api.jobs.submit import submit
from api.reads import lookup
from api.resources import jobs
from tests.api.front_end import FrontEnd, accepted, pointers, problem
from worker.catalog.operations import CREATE_SNAPSHOT, Role
from worker.jobs.ids import JobIds
from worker.jobs.notifications import JobNotifications
from worker.jobs.query import key_of
from worker.jobs.service import Jobs
from worker.store.results import CancelResult

URL = "/v4/filer/volumes/db01"


@pytest.fixture
def queued(client):
    """A job that nobody has begun."""
    return accepted(client.post(URL, json={"size_total": 10**9}))


@pytest.fixture
def succeeded(worker, queued):
    worker.carry_out(queued)
    return queued


@pytest.fixture
def failed(client, worker):
    path = accepted(client.delete("/v4/filer/volumes/none"))
    worker.carry_out(path)
    return path


class TestShow:
    def test_a_queued_job_is_as_the_contract_says(self, client, queued):
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

    def test_one_whose_id_a_process_with_another_secret_issued(self, redis_url, redis_client, front_end, queued):
        # Redis has lost its data, the secret too, and this process has started since.
        redis_client.delete(f"{front_end.settings.key_prefix}id-secret")
        client: Any = FrontEnd(redis_url).client()
        job_id = queued.rpartition("/")[2]
        assert client.get(queued).json["id"] == job_id
        assert [job["id"] for job in client.get(f"/v4/jobs?id={job_id},x").json] == [job_id]
        assert client.post(f"{queued}/cancel").json["state"] == "cancelled"

    def test_a_record_that_is_gone(self, client, front_end, redis_client, queued):
        job_id = queued.rpartition("/")[2]
        redis_client.delete(f"{front_end.settings.key_prefix}job:{job_id}")
        problem(client.get(queued), 410, "job-expired")
        problem(client.get(f"{queued}/result"), 410, "job-expired")
        problem(client.post(f"{queued}/cancel"), 410, "job-expired")

    def test_who_has_the_operations_role_may_see_it(self, front_end, queued):
        assert front_end.client(Role.ADMIN).get(queued).status_code == 200

    def test_its_requester_may_see_it_without_any_role(self, front_end, queued):
        assert front_end.client(Role.USER).get(queued).status_code == 200

    def test_others_may_not(self, front_end, queued):
        for path in (queued, f"{queued}/result"):
            problem(front_end.stranger().get(path), 404, "no-such-job")

    def test_who_may_see_it_is_in_the_audit_log(self, front_end, client, queued, audit):
        client.get(queued)
        front_end.stranger().get(queued)
        seen, refused = audit()[-2:]
        job = {"job_id": queued.rpartition("/")[2], "role": "ADMIN", "target": URL}
        assert (job | {"who": "ann", "auth_method": "basic", "allowed": True, "status": 200}).items() <= seen.items()
        assert (job | {"who": "", "allowed": False, "reason": "not-their-job"}).items() <= refused.items()

    def test_strangers_are_not_one_another(self, front_end, redis_client, queued):
        redis_client.hset(
            f"{front_end.settings.key_prefix}job:{queued.rpartition('/')[2]}",
            mapping={"requester": "", "requester_key": ""},
        )
        problem(front_end.stranger().get(queued), 404, "no-such-job")


class TestLongPoll:
    @pytest.mark.parametrize("accept", ["application/json", "text/html", "*/*"])
    def test_browsers_get_another_form_and_caches_know(self, client, queued, accept):
        for path, status in ((queued, 200), ("/v4/jobs", 200), ("/v4/jobs?limit=0", 422)):
            answer = client.get(path, headers={"Accept": accept})
            assert (answer.status_code, answer.is_json) == (status, accept != "text/html")
            assert "Accept" in answer.headers["Vary"].split(", ")
        tag = client.get(queued).headers["ETag"]
        assert "Accept" in client.get(queued, headers={"If-None-Match": tag, "Accept": accept}).headers["Vary"]

    def test_the_version_is_its_tag(self, client, queued):
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

    def test_of_an_id_in_capitals_the_job_is_waited_for(self, client, queued, monkeypatch):
        waited_for = []
        monkeypatch.setattr("api.resources.jobs.wait_for", lambda _, job_id, *_a, **_o: waited_for.append(job_id))
        job_id = queued.rpartition("/")[2]
        assert client.get(f"/v4/jobs/{job_id.upper()}", headers={"Prefer": "wait=5"}).json["id"] == job_id
        assert waited_for == [job_id]

    def test_a_change_is_told_as_soon_as_it_comes(self, front_end, client, worker, queued, monkeypatch):
        tag = client.get(queued).headers["ETag"]
        answers, waits, watch = [], threading.Event(), JobNotifications.watch

        @contextmanager
        def noted(*arguments, **options):
            # Those who wait for the end alone hear of other changes much later.
            assert not options["end"]
            with watch(*arguments, **options) as watching:
                assert watching is not None

                def wait(seconds: float) -> bool:
                    waits.set()
                    return watching.wait(seconds)

                yield SimpleNamespace(wait=wait)

        monkeypatch.setattr(JobNotifications, "watch", noted)

        def wait() -> None:
            answers.append(front_end.client().get(queued, headers={"If-None-Match": tag, "Prefer": "wait=20"}))

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert waits.wait(15)
        worker.take(queued)
        waiting.join(15)
        (answer,) = answers
        assert answer.json["state"] == "running"

    def test_when_too_many_wait_it_is_answered_as_it_is(self, redis_url, redis_client):
        front_end = FrontEnd(redis_url, max_waiting=1)
        path = accepted(front_end.client().post(URL))
        tag = front_end.client().get(path).headers["ETag"]
        with front_end.services.events.watch("another"):
            response = front_end.client().get(path, headers={"If-None-Match": tag, "Prefer": "wait=20"})
        assert response.status_code == 304
        assert "Retry-After" in response.headers


class TestResult:
    def test_of_a_created_volume(self, client, succeeded):
        response = client.get(f"{succeeded}/result")
        assert (response.status_code, response.headers["Location"]) == (201, URL)
        assert response.json["size_total"] == 10**9

    def test_of_what_is_gone(self, client, worker, succeeded):
        path = accepted(client.delete(URL))
        worker.carry_out(path)
        response = client.get(f"{path}/result")
        assert (response.status_code, response.data) == (204, b"")
        assert "Content-Type" not in response.headers
        assert response.headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize(
        ("method", "url", "body", "location"),
        [
            ("POST", "/v4/filer/export/p", {"rules": ["10.0.0.1"]}, "/v4/filer/export/p"),
            ("POST", f"{URL}/snapshots/s", None, f"{URL}/snapshots/s"),
            ("PUT", f"{URL}/locks/host", None, None),
        ],
    )
    def test_of_what_was_made_it_says_where_that_is(self, client, worker, succeeded, method, url, body, location):
        path = accepted(client.open(url, method=method, json=body))
        worker.carry_out(path)
        response = client.get(f"{path}/result")
        assert (response.status_code, response.headers.get("Location")) == (201, location)

    def test_of_a_failed_job_is_its_problem(self, client, failed):
        problem(client.get(f"{failed}/result"), 404, "no-such-volume")

    def test_a_listing_is_as_old_as_the_begin_of_its_read(self, client, worker, redis_client):
        read = accepted(client.get("/v4/filer/volumes", headers={"Prefer": "respond-async"}))
        worker.carry_out(read)
        key = f"sapi:job:{read.rpartition('/')[2]}"
        redis_client.hset(key, "started", int(redis_client.hget(key, "finished")) - 3_600_000)
        assert 3600 <= int(client.get(f"{read}/result").headers["Age"]) < 3700

    def test_an_answer_that_tells_the_end_never_says_to_ask_again(self, client, worker):
        headers = {"Idempotency-Key": "k", "Prefer": "wait=0"}
        path = accepted(client.delete("/v4/filer/volumes/away", headers={"Idempotency-Key": "k"}))
        worker.fail(path, "backend-unavailable")
        for answer in (client.get(f"{path}/result"), client.delete("/v4/filer/volumes/away", headers=headers)):
            problem(answer, 503, "backend-unavailable")
            assert answer.headers["Operation-Location"] == path
            assert "Retry-After" not in answer.headers
        assert (answer.headers["Idempotency-Replayed"], answer.headers["Preference-Applied"]) == ("true", "wait=0")

    def test_before_the_end(self, client, queued):
        response = client.get(f"{queued}/result")
        problem(response, 409, "job-not-finished")
        assert int(response.headers["Retry-After"]) >= 1
        assert response.headers["Operation-Location"] == queued

    def test_of_a_cancelled_job(self, client, queued):
        client.post(f"{queued}/cancel")
        answer = client.get(f"{queued}/result")
        problem(answer, 409, "job-cancelled")
        assert (answer.headers["Operation-Location"], "Retry-After" in answer.headers) == (queued, False)

    def test_that_is_kept_no_longer(self, client, front_end, redis_client, succeeded):
        redis_client.delete(f"{front_end.settings.key_prefix}result:{succeeded.rpartition('/')[2]}")
        problem(client.get(f"{succeeded}/result"), 410, "result-expired")

    def test_of_a_listing_is_what_was_asked_for(self, client, worker, succeeded):
        headers = {"Prefer": "respond-async", "Cache-Control": "no-cache"}
        response = client.get("/v4/filer/volumes?name=db01&fields=name", headers=headers)
        path = accepted(response)
        assert response.json["links"]["result"] == f"{path}/result?name=db01&fields=name"
        worker.carry_out(path)
        assert client.get(f"{path}/result").json == [{"name": "db01"}]

    def test_of_a_listing_goes_by_pages_too(self, client, worker, succeeded):
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


class TestCancel:
    def test_a_queued_job_never_starts(self, client, queued):
        response = client.post(f"{queued}/cancel")
        assert (response.status_code, response.json["state"]) == (200, "cancelled")

    def test_a_running_job_is_asked_to_stop(self, client, worker, queued):
        worker.take(queued)
        response = client.post(f"{queued}/cancel")
        assert (response.status_code, response.json["state"]) == (202, "cancelling")

    def test_a_finished_job_cannot_be_cancelled(self, client, succeeded):
        problem(client.post(f"{succeeded}/cancel"), 409, "job-not-cancellable")

    def test_a_read_that_others_wait_for_cannot(self, client):
        headers = {"Prefer": "respond-async"}
        path = accepted(client.get("/v4/filer/volumes", headers=headers))
        assert accepted(client.get("/v4/filer/volumes", headers=headers)) == path
        problem(client.post(f"{path}/cancel"), 409, "job-shared")

    def test_strangers_may_not(self, front_end, queued):
        problem(front_end.stranger().post(f"{queued}/cancel"), 401, "unauthenticated")

    def test_a_job_of_nobody_asks_for_the_highest_role(self, front_end, redis_client, queued):
        redis_client.hset(
            f"{front_end.settings.key_prefix}job:{queued.rpartition('/')[2]}",
            mapping={"requester": "bob", "requester_key": "bob"},
        )
        problem(front_end.client(Role.ADMIN).post(f"{queued}/cancel"), 403, "missing-role")
        assert front_end.client(Role.ADMIN, Role.UBER_ADMIN).post(f"{queued}/cancel").status_code == 200


def test_a_listing_whose_job_has_expired_meanwhile_is_a_problem(client, monkeypatch):
    monkeypatch.setattr(lookup, "_wait", lambda *_arguments, **_options: None)
    document = problem(client.get("/v4/filer/volumes"), 410, "job-expired")
    assert document["detail"] == "The job that asked the storage system is kept no longer. Ask again."


def test_a_reader_waits_for_the_end_or_for_what_it_does_not_have(client, queued, failed, monkeypatch):
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


class TestRetry:
    @pytest.mark.parametrize("action", ["cancel", "retry"])
    def test_fields_are_refused_and_nothing_happens(self, client, queued, failed, action):
        path = queued if action == "cancel" else failed
        before = client.get(path).json["state"]
        document = problem(client.post(f"{path}/{action}", json={"force": True}), 422, "validation-failed")
        assert document["errors"][0]["pointer"] == "/force"
        assert client.get(path).json["state"] == before
        assert len(client.get("/v4/jobs?operation=restrict_volume").json) == 1

    def test_a_failed_job_is_done_again_by_a_new_one(self, client, failed):
        again = client.get(accepted(client.post(f"{failed}/retry"))).json
        assert again["retry_of"] == failed.rpartition("/")[2]
        assert again["operation"] == "restrict_volume"

    def test_of_a_volume_named_by_its_path_it_is_the_same_request(self, client):
        body = {"name": "v", "comment": "x"}
        path = accepted(client.post("/v4/filer/volumes/:/somewhere", json=body))
        client.post(f"{path}/cancel")
        again = accepted(client.post(f"{path}/retry"))
        first, second = client.get(path).json, client.get(again).json
        assert (second["request"], second["target"]) == (first["request"], "/v4/filer/volumes/:/somewhere")
        assert [job["id"] for job in client.get("/v4/jobs?volume=:/somewhere").json] == [second["id"], first["id"]]

    def test_a_read_is_done_again_with_its_query(self, client, worker, succeeded):
        headers = {"Prefer": "respond-async", "Cache-Control": "no-cache"}
        path = accepted(client.get("/v4/filer/volumes?fields=name", headers=headers))
        client.post(f"{path}/cancel")
        again = accepted(client.post(f"{path}/retry"))
        worker.carry_out(again)
        assert {frozenset(volume) for volume in client.get(f"{again}/result").json} == {frozenset({"name"})}

    def test_an_unfinished_job_is_not(self, client, queued):
        response = client.post(f"{queued}/retry")
        problem(response, 409, "job-not-finished")
        assert "Retry-After" in response.headers

    def test_a_succeeded_job_is_not(self, client, succeeded):
        problem(client.post(f"{succeeded}/retry"), 409, "job-not-retryable")

    def test_it_takes_the_role_of_the_operation(self, front_end, failed):
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
    def test_an_operators_word_ends_it(self, client, settling, outcome, state, code, retryable):
        job = client.post(f"{settling}/settle", json={"outcome": outcome}).json
        assert job["state"] == state
        assert [(job["error"] or {}).get(name) for name in ("code", "retryable")] == [code, retryable]

    def test_another_job_cannot_be_settled(self, client, queued):
        problem(client.post(f"{queued}/settle", json={"outcome": "failed"}), 409, "job-not-settling")

    @pytest.mark.parametrize(
        ("outcome", "volume"), [("succeeded", "a"), ("failed", "a"), ("unknown", "a"), ("unknown", ":/a")]
    )
    def test_no_listing_from_before_is_shown_after_it(self, client, worker, lose_worker, redis_client, outcome, volume):
        settling = lose_worker(accepted(client.patch(f"/v4/filer/volumes/{volume}", json={"comment": "x"})))
        worker.carry_out(accepted(client.get("/v4/filer/volumes", headers={"Prefer": "respond-async"})))
        cached = {"Cache-Control": "only-if-cached, max-stale"}
        assert client.get("/v4/filer/volumes", headers=cached).status_code == 200
        client.post(f"{settling}/settle", json={"outcome": outcome})
        problem(client.get("/v4/filer/volumes", headers=cached), 504, "not-cached")
        # A listing is known by the volume's name, and none is recorded under a path.
        listings = redis_client.keys("sapi:listing:*")
        assert (bool(listings), [key for key in listings if b":/" in key]) == (True, [])

    def test_it_takes_the_highest_role(self, front_end, settling):
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
    def test_somebody_elses_job(self, front_end, redis_client, client, roles, refusals):
        path = accepted(client.post("/v4/filer/volumes/a"))
        fields = {"requester": "bob", "requester_key": key_of("bob")}
        redis_client.hset(f"{front_end.settings.key_prefix}job:{path.rpartition('/')[2]}", mapping=fields)
        caller = front_end.client(*roles) if roles else front_end.stranger()
        for action, body in sorted(self._ACTIONS, key=lambda each: list(refusals).index(each[0])):
            response = caller.post(f"{path}/{action}", json=body)
            status, code = refusals[action]
            assert (response.status_code, response.json.get("code", "")) == (status, code), action

    def test_a_body_is_not_looked_at_before_the_job_and_the_role(self, front_end, redis_client, client):
        path = accepted(client.post("/v4/filer/volumes/a"))
        problem(front_end.client(Role.USER, Role.ADMIN).post(f"{path}/settle", json={"odd": 1}), 403, "missing-role")
        nowhere = "/v4/jobs/01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90"
        problem(front_end.client(Role.UBER_ADMIN).post(f"{nowhere}/settle", json={"odd": 1}), 404, "no-such-job")


class TestList:
    @pytest.fixture
    def paths(self, client):
        """Three jobs, the newest first."""
        return [accepted(client.post(f"/v4/filer/volumes/{name}")) for name in ("a", "b", "c")][::-1]

    def listed(self, response):
        return [job["links"]["self"] for job in response.json]

    def test_the_newest_comes_first(self, client, paths):
        response = client.get("/v4/jobs")
        assert self.listed(response) == paths
        assert response.headers["Cache-Control"] == "private, no-cache"

    def test_times_may_be_finer_than_those_of_jobs(self, client, paths):
        """Within the millisecond in which a job was accepted it is before, and not after."""
        created = client.get(paths[0]).json["created_at"]
        assert paths[0] in self.listed(client.get(f"/v4/jobs?created_before={created[:-1]}5Z"))

    def test_it_goes_by_pages(self, client, paths):
        page = client.get("/v4/jobs?limit=1&operation=create_volume")
        for path in paths:
            assert self.listed(page) == [path]
            link = page.headers["Link"]
            assert "limit=1&" in link
            assert link.endswith('>; rel="next"')
            page = client.get(link.partition(">")[0][1:])
        assert self.listed(page) == []
        assert "Link" not in page.headers

    @pytest.mark.parametrize(
        ("query", "numbers"),
        [
            ("volume=b", [1]),
            ("state=queued", [0, 1, 2]),
            ("state=failed", []),
            ("operation=delete_policy", []),
            ("operation=delete_policy,create_volume", [0, 1, 2]),
            ("operation=batch,delete_policy&state=queued", []),
            ("subsystem=filer&volume=c", [0]),
            ("created_after=2020-01-01T00:00:00Z", [0, 1, 2]),
            ("created_after=2120-01-01T00:00:00%2B02:00", []),
            ("created_after=2020-01-01T00:00:00+02:00", [0, 1, 2]),
            ("created_after=2020-01-01t00:00:00.123456789z", [0, 1, 2]),
            ("created_before=2120-01-01", [0, 1, 2]),
            ("created_before=1920-01-01", []),
            ("created_before=1970-01-01", []),
            ("created_after=0001-01-01", [0, 1, 2]),
            ("created_after=2016-12-31T23:59:60Z", [0, 1, 2]),
            ("finished_after=2020-01-01", []),
            ("finished_before=2120-01-01", []),
            ("state=queued,running", [0, 1, 2]),
            ("state=failed,cancelled", []),
            ("state=queued&operation=create_volume&subsystem=filer&volume=a", [2]),
            ("requested_by=ann", [0, 1, 2]),
            ("requested_by=bob", []),
            ("all=true", [0, 1, 2]),
            ("batch=nonsense", []),
            ("id=nonsense", []),
        ],
    )
    def test_filters(self, client, paths, query, numbers):
        assert self.listed(client.get(f"/v4/jobs?{query}")) == [paths[number] for number in numbers]

    def test_reads_are_of_their_volume_too(self, client, paths):
        read = accepted(client.get("/v4/filer/volumes/b/snapshots", headers={"Prefer": "respond-async"}))
        assert self.listed(client.get("/v4/jobs?volume=b")) == [read, paths[1]]

    def test_by_ids(self, client, paths):
        ids = ",".join(path.rpartition("/")[2] for path in paths[:2])
        assert self.listed(client.get(f"/v4/jobs?id={ids},nonsense")) == paths[:2]
        assert self.listed(client.get(f"/v4/jobs?id={ids.upper()}")) == paths[:2]

    def test_by_ids_it_goes_by_pages_too(self, client, paths):
        ids = ",".join(path.rpartition("/")[2] for path in paths)
        first = client.get(f"/v4/jobs?limit=2&id={ids}")
        assert self.listed(first) == paths[:2]
        second = client.get(first.headers["Link"].partition(">")[0][1:])
        assert self.listed(second) == paths[2:]
        assert "Link" not in second.headers

    @pytest.mark.parametrize(("name", "longest"), [("subsystem", 63), ("volume", 4096), ("batch", 64),
                                                   ("requested_by", 1024)])  # fmt: skip
    def test_what_is_sought_has_a_largest_length(self, client, name, longest):
        assert client.get("/v4/jobs", query_string={name: "x" * longest}).json == []
        refused = client.get("/v4/jobs", query_string={name: "x" * (longest + 1)})
        assert pointers(problem(refused, 422, "validation-failed")) == [f"/{name}"]

    @pytest.mark.parametrize(("count", "status"), [(200, 200), (201, 422)])
    def test_so_many_may_be_named(self, client, count, status):
        assert client.get(f"/v4/jobs?id={','.join(map(str, range(count)))}").status_code == status

    def test_an_id_may_be_in_capitals(self, client, paths):
        job_id = paths[0].rpartition("/")[2]
        assert client.get(f"/v4/jobs/{job_id.upper()}").json["id"] == job_id

    def test_ones_own_are_of_all_whatever_role_they_needed(self, front_end, paths):
        user = front_end.client(Role.USER)
        for query in ("", "?all=true", "?requested_by=ann", "?all=true&requested_by=ann"):
            assert self.listed(user.get(f"/v4/jobs{query}")) == paths

    def test_those_of_others_are_for_all(self, front_end, redis_client, client, paths):
        """They are another's; who may see them depends on the roles."""
        for path in paths:
            key = f"{front_end.settings.key_prefix}job:{path.rpartition('/')[2]}"
            redis_client.hset(key, mapping={"requester": "bob", "requester_key": key_of("bob")})
        ann, bob = key_of("basic ann"), key_of("bob")
        for key in redis_client.keys(f"{front_end.settings.key_prefix}index*requester:{ann}*"):
            redis_client.rename(key, key.replace(ann.encode(), bob.encode()))
        assert self.listed(client.get("/v4/jobs")) == []
        assert self.listed(client.get("/v4/jobs?all=true")) == paths
        assert self.listed(client.get("/v4/jobs?requested_by=bob")) == paths
        assert self.listed(front_end.client(Role.UBER_ADMIN).get("/v4/jobs?all=true")) == paths
        assert self.listed(front_end.client(Role.ADMIN).get("/v4/jobs?all=true")) == paths
        assert self.listed(front_end.client(Role.USER).get("/v4/jobs?all=true")) == []
        assert self.listed(front_end.client(Role.USER).get("/v4/jobs?all=true&requested_by=bob")) == []
        assert front_end.client(Role.UBER_ADMIN).get(paths[0]).status_code == 200

    @pytest.mark.parametrize(
        "query",
        [
            "created_after=0001-01-01T00:00:00%2B01:00",
            "finished_before=9999-12-31T23:59:59-00:01",
            "created_after=2020-13-01",
            "created_before=",
            f"finished_after={'9' * 400}",
            "created_after=2020-01-01T00:00:00%2B99:00",
            "all=yes",
            "state=queued,odd",
            "state=",
            "batch=",
            "limit=0",
            "limit=1001",
            "limit=x",
            "limit=1_0",
            "limit=%2B5",
            "limit=%EF%BC%95",
            "limit=" + "1" * 5000,
            "limit=1&limit=2",
            "state=odd",
            "operation=odd",
            "operation=create_volume,odd",
            "operation=",
            "created_after=yesterday",
            "created_after=2020-01-01T00:00:00",
            "page_token=!",
            "page_token=abcd",
            f"page_token={base64.urlsafe_b64encode(b'9' * 16).decode().rstrip('=')}",
            "id=",
            "colour=red",
        ],
    )
    def test_what_is_wrong_is_named(self, client, query):
        document = problem(client.get(f"/v4/jobs?{query}"), 422, "validation-failed")
        assert pointers(document) == [f"/{query.partition('=')[0]}"]

    def test_strangers_have_none(self, front_end):
        problem(front_end.stranger().get("/v4/jobs"), 401, "unauthenticated")


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
    def test_one_that_cannot_be_cancelled_is_refused(self, client, queued, monkeypatch, result, code):
        monkeypatch.setattr(Jobs, "cancel", lambda *_: result)
        refused = [{"id": queued.rpartition("/")[2], "code": code}]
        assert client.post("/v4/jobs/cancel", json={"state": ["queued"]}).json == {"cancelled": [], "refused": refused}

    def test_what_the_filter_names_is_cancelled(self, client, worker, ids):
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

    def test_what_the_filter_does_not_name_goes_on(self, client, ids):
        assert client.post("/v4/jobs/cancel", json={"volume": "b", "state": ["queued"]}).json["cancelled"] == [ids[1]]
        assert [client.get(f"/v4/jobs/{job_id}").json["state"] for job_id in (ids[0], ids[2])] == ["queued"] * 2

    def test_of_more_than_are_taken_the_unfinished_come_first(self, client, ids, monkeypatch):
        for job_id in ids[:2]:
            client.post(f"/v4/jobs/{job_id}/cancel")
        monkeypatch.setattr(bulk, "MOST_JOBS", 2)
        assert client.post("/v4/jobs/cancel", json={"subsystem": "filer"}).json == {
            "cancelled": [ids[2]],
            "refused": [{"id": ids[0], "code": "job-not-cancellable"}],
        }

    def test_a_state_is_a_filter_of_its_own(self, client, ids):
        answer = client.post("/v4/jobs/cancel", json={"state": ["running", "failed"]}).json
        assert answer == {"cancelled": [], "refused": []}

    def test_ones_own_are_cancelled_without_a_higher_role(self, front_end, redis_client, ids):
        answer = front_end.client(Role.ADMIN).post("/v4/jobs/cancel", json={"id": ids[0]}).json
        assert answer == {"cancelled": [ids[0]], "refused": []}
        front_end.client(Role.ADMIN).post(f"/v4/jobs/{ids[1]}/cancel")
        names = [redis_client.hget(f"sapi:job:{job_id}", "cancelled_by") for job_id in ids]
        assert names == [b"ann", b"ann", None]

    def test_one_that_cannot_be_done_again_is_refused_with_the_reason(self, client, ids):
        client.post("/v4/filer/volumes/x", headers={"Idempotency-Key": f"again {ids[0]}"})
        client.post(f"/v4/jobs/{ids[0]}/cancel")
        answer = client.post("/v4/jobs/retry", json={"id": ids[0]}, headers={"Idempotency-Key": "again"}).json
        assert answer == {"retried": [], "refused": [{"id": ids[0], "code": "idempotency-key-reused"}]}

    def test_failed_and_cancelled_jobs_are_done_again(self, client, worker, ids):
        client.post(f"/v4/jobs/{ids[0]}/cancel")
        worker.carry_out(f"/v4/jobs/{ids[1]}")
        answer = client.post("/v4/jobs/retry", json={"subsystem": "filer"}).json
        (again,) = answer["retried"]
        assert client.get(f"/v4/jobs/{again}").json["retry_of"] == ids[0]
        refused = {refusal["id"]: refusal["code"] for refusal in answer["refused"]}
        assert refused == {ids[1]: "job-not-retryable", ids[2]: "job-not-finished"}

    def test_the_same_key_makes_no_second_ones(self, client, ids):
        for job_id in ids:
            client.post(f"/v4/jobs/{job_id}/cancel")
        body, headers = {"id": ids}, {"Idempotency-Key": "again"}
        first = client.post("/v4/jobs/retry", json=body, headers=headers).json["retried"]
        assert client.post("/v4/jobs/retry", json=body, headers=headers).json["retried"] == first
        assert len(set(first)) == 3

    def test_the_same_key_means_the_same_jobs(self, client, ids):
        client.post(f"/v4/jobs/{ids[0]}/cancel")
        body, headers = {"id": ids}, {"Idempotency-Key": "again"}
        first = client.post("/v4/jobs/retry", json=body, headers=headers).json
        client.post(f"/v4/jobs/{ids[1]}/cancel")
        assert client.post("/v4/jobs/retry", json=body, headers=headers).json == first
        assert (len(first["retried"]), len(first["refused"])) == (1, 2)
        for path, other in (("jobs/retry", {"id": ids[:2]}), ("filer/volumes/a", {})):
            problem(client.post(f"/v4/{path}", json=other, headers=headers), 422, "idempotency-key-reused")

    @pytest.mark.parametrize("action", ["cancel", "retry"])
    def test_a_filter_is_needed(self, client, action):
        for body in ({}, {"all": True}):
            assert pointers(problem(client.post(f"/v4/jobs/{action}", json=body), 422, "validation-failed")) == [""]

    def test_what_is_wrong_is_named(self, client):
        document = problem(client.post("/v4/jobs/cancel", json={"state": "odd", "colour": 1}), 422, "validation-failed")
        assert sorted(pointers(document)) == ["/colour", "/state"]

    def test_to_do_it_again_takes_the_role(self, front_end, client, worker, failed):
        job_id = failed.rpartition("/")[2]
        answer = front_end.client(Role.ADMIN).post("/v4/jobs/retry", json={"id": job_id}).json
        assert answer == {"retried": [], "refused": [{"id": job_id, "code": "missing-role"}]}

    def test_others_are_stopped_only_with_the_highest_role(self, front_end, redis_client, ids):
        redis_client.hset(
            f"{front_end.settings.key_prefix}job:{ids[0]}", mapping={"requester": "bob", "requester_key": "bob"}
        )
        body = {"id": ids[0], "all": True}
        answer = front_end.client(Role.ADMIN).post("/v4/jobs/cancel", json=body).json
        assert answer["refused"] == [{"id": ids[0], "code": "missing-role"}]
        assert front_end.client(Role.UBER_ADMIN).post("/v4/jobs/cancel", json=body).json["cancelled"] == [ids[0]]

    def test_strangers_may_not(self, front_end):
        problem(front_end.stranger().post("/v4/jobs/cancel", json={"volume": "a"}), 401, "unauthenticated")


def test_a_view_whose_arguments_no_driver_takes_makes_no_job(front_end: FrontEnd, redis_client: Redis):
    for arguments in ({"volume": "v"}, {"volume": "v", "name": "s", "size": 1}):
        with front_end.app().test_request_context("/", method="POST"), pytest.raises(TypeError):
            submit(CREATE_SNAPSHOT, "filer", arguments)
    assert redis_client.keys("sapi:job:*") == []
