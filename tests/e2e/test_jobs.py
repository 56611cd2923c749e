"""Section 4 of the contract: the job, its states, results, cancel, retry and the list of one's own."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.client import Client, problem

FIELDS = {
    "id", "operation", "state", "done", "subsystem", "target", "request", "requested_by", "request_id", "created_at",
    "started_at", "updated_at", "finished_at", "expires_at", "queue", "progress", "attempt", "cancellable",
    "cancel_requested_at", "retry_of", "backend_job", "result", "error", "links",
    "attempts", "batch",
}  # fmt: skip
NO_CACHE = {"Cache-Control": "no-cache", "Prefer": "respond-async"}


class TestDocument:
    def test_a_job_has_every_member(self, http: Client, name: str) -> None:
        job = http.ended(http.submit("POST", f"/v4/dummy/volumes/{name}", {})["id"])
        assert set(job) == FIELDS
        assert set(job["queue"]) == {"name", "position", "workers_online", "waiting_reason"}
        assert set(job["progress"]) == {"percent", "current", "total", "unit", "message"}
        assert set(job["links"]) == {"self", "result", "cancel"}
        assert job["queue"]["name"] == "dummy.write"
        assert job["attempt"] == 1
        assert (job["result"]["href"], job["result"]["status"]) == (job["links"]["result"], 201)
        assert job["result"]["value"]["name"] == name

    def test_a_failed_job_has_its_problem(self, http: Client) -> None:
        job = http.ended(http.submit("DELETE", f"/v4/dummy/volumes/{uuid.uuid4().hex}")["id"])
        assert (job["state"], job["error"]["code"], job["error"]["status"]) == ("failed", "no-such-volume", 404)
        assert job["result"] is None
        problem(http.get(job["links"]["result"]), 404, "no-such-volume")

    def test_progress_grows_while_a_listing_runs(self, http: Client) -> None:
        job = http.get("/v4/slow/volumes", headers=NO_CACHE).json()
        seen = []
        tag = http.get(f"/v4/jobs/{job['id']}").headers["ETag"]
        while not job["done"]:
            answer = http.get(f"/v4/jobs/{job['id']}", headers={"Prefer": "wait=5", "If-None-Match": tag})
            if answer.status_code == 200:
                job, tag = answer.json(), answer.headers["ETag"]
                seen.append(job["progress"]["current"] or 0)
        assert seen == sorted(seen)
        assert len(set(seen)) > 3
        assert job["state"] == "succeeded"


class TestPolling:
    def test_an_unchanged_job_is_304(self, http: Client, name: str) -> None:
        job = http.ended(http.submit("POST", f"/v4/dummy/volumes/{name}", {})["id"])
        first = http.get(job["links"]["self"])
        again = http.get(job["links"]["self"], headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        waited = http.get(job["links"]["self"], headers={"If-None-Match": first.headers["ETag"], "Prefer": "wait=20"})
        assert (waited.status_code, waited.elapsed.total_seconds() < 5) == (304, True)

    def test_an_unfinished_job_says_when_to_ask_again(self, http: Client) -> None:
        job = http.get("/v4/slow/volumes", headers=NO_CACHE).json()
        answer = http.get(f"/v4/jobs/{job['id']}")
        assert int(answer.headers["Retry-After"]) >= 1
        ended = http.ended(job["id"])
        assert "Retry-After" not in http.get(ended["links"]["self"]).headers

    @pytest.mark.parametrize(
        "job_id", ["8f14e45f-ceea-467f-a8a1-3a2b4c5d6e7f", "01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90", "nonsense", "%00"]
    )
    def test_an_id_that_was_never_issued(self, http: Client, job_id: str) -> None:
        problem(http.get(f"/v4/jobs/{job_id}"), 404, "no-such-job")

    def test_an_anonymous_client_does_not_see_the_job(self, http: Client, stranger: Client, name: str) -> None:
        job = http.submit("POST", f"/v4/dummy/volumes/{name}", {})
        for path in (f"/v4/jobs/{job['id']}", f"/v4/jobs/{job['id']}/result"):
            problem(stranger.get(path), 404, "no-such-job")
        assert stranger.post(f"/v4/jobs/{job['id']}/cancel").status_code in (401, 404)

    def test_the_result_of_an_unfinished_job(self, http: Client) -> None:
        job = http.get("/v4/slow/volumes", headers=NO_CACHE).json()
        answer = http.get(job["links"]["result"])
        problem(answer, 409, "job-not-finished")
        assert int(answer.headers["Retry-After"]) >= 1
        http.ended(job["id"])

    def test_the_result_of_a_listing_is_that_of_the_query(self, http: Client) -> None:
        answer = http.get(
            "/v4/slow/volumes", params={"fields": "name", "sort": "-name", "limit": "3"}, headers=NO_CACHE
        )
        assert answer.status_code == 202
        job = http.ended(answer.json()["id"])
        result = http.get(job["result"]["href"])
        assert result.status_code == 200
        names = [record["name"] for record in result.json()]
        assert len(names) == 3
        assert names == sorted(names, reverse=True)
        assert all(set(record) == {"name"} for record in result.json())


class TestCancel:
    def test_a_running_read_stops(self, http: Client) -> None:
        job = http.get("/v4/slow/volumes", headers=NO_CACHE).json()
        while http.get(f"/v4/jobs/{job['id']}").json()["state"] == "queued":
            time.sleep(0.05)
        answer = http.post(job["links"]["cancel"])
        assert answer.status_code in (200, 202), answer.text
        assert http.ended(job["id"])["state"] == "cancelled"
        problem(http.get(job["links"]["result"]), 409, "job-cancelled")
        problem(http.post(job["links"]["cancel"]), 409, "job-not-cancellable")
        retried = http.post(f"/v4/jobs/{job['id']}/retry")
        assert (retried.status_code, retried.json()["retry_of"]) == (202, job["id"])
        http.ended(retried.json()["id"])

    def test_a_queued_change_never_starts(self, http: Client, name: str) -> None:
        first = http.submit("POST", f"/v4/slow/volumes/{name}", {})
        second = http.submit("PATCH", f"/v4/slow/volumes/{name}", {"size_total": 2**31})
        third = http.submit("PATCH", f"/v4/slow/volumes/{name}", {"max_autosize": 2**35})
        assert http.get(f"/v4/jobs/{second['id']}").json()["queue"]["waiting_reason"] == "behind-jobs"
        cancelled = http.post(second["links"]["cancel"])
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        assert http.ended(first["id"])["state"] == http.ended(third["id"])["state"] == "succeeded"
        job = http.get(f"/v4/jobs/{second['id']}").json()
        assert (job["state"], job["started_at"], job["attempt"]) == ("cancelled", None, 0)
        assert http.get(f"/v4/slow/volumes/{name}").json()["size_total"] != 2**31

    def test_a_shared_read_cannot_be_cancelled(self, http: Client) -> None:
        job = http.get("/v4/slow/volumes", headers=NO_CACHE).json()
        while http.get(f"/v4/jobs/{job['id']}").json()["state"] == "queued":
            time.sleep(0.05)
        joined = http.get("/v4/slow/volumes", headers={"Cache-Control": "max-age=0", "Prefer": "respond-async"})
        assert joined.json()["id"] == job["id"]
        assert joined.headers["Cache-Status"].endswith("; collapsed")
        problem(http.post(job["links"]["cancel"]), 409, "job-shared")
        http.ended(job["id"])

    def test_an_ended_job_cannot_be_cancelled(self, http: Client, name: str) -> None:
        job = http.ended(http.submit("POST", f"/v4/dummy/volumes/{name}", {})["id"])
        problem(http.post(job["links"]["cancel"]), 409, "job-not-cancellable")
        assert http.post(f"/v4/jobs/{job['id']}/retry").status_code == 409


class TestList:
    def test_own_jobs_are_listed_newest_first_in_pages(self, http: Client, stranger: Client, volume: str) -> None:
        problem(stranger.get("/v4/jobs"), 401, "unauthenticated")
        made = [
            http.submit("PATCH", f"/v4/dummy/volumes/{volume}", {"max_autosize": 2**33 + n})["id"] for n in range(5)
        ]
        for job_id in made:
            http.ended(job_id)
        page = http.get("/v4/jobs", params={"volume": volume, "operation": "update_volume", "limit": "2"})
        job_ids = [job["id"] for job in page.json()]
        while "next" in page.links:
            page = http.get(page.links["next"]["url"])
            job_ids += [job["id"] for job in page.json()]
        assert job_ids == made[::-1]

    def test_filters(self, http: Client, name: str) -> None:
        failed = http.ended(http.submit("DELETE", f"/v4/dummy/volumes/{name}")["id"])
        listed = http.get("/v4/jobs", params={"state": "failed", "subsystem": "dummy", "volume": name}).json()
        assert [job["id"] for job in listed] == [failed["id"]]
        assert http.get("/v4/jobs", params={"created_after": failed["created_at"], "volume": name}).json() == []
        assert [j["id"] for j in http.get("/v4/jobs", params={"id": f"{failed['id']},{uuid.uuid4()}"}).json()] == [
            failed["id"]
        ]

    @pytest.mark.parametrize(
        "query", ["state=nonsense", "limit=0", "limit=1001", "limit=x", "created_after=yesterday", "page_token=x"]
    )
    def test_invalid_filters_are_refused(self, http: Client, query: str) -> None:
        problem(http.get(f"/v4/jobs?{query}"), 422, "validation-failed")


def test_waiting_clients_do_not_use_up_the_server(http: Client, stranger: Client) -> None:
    """Three hundred long polls at once, and health is answered as ever."""
    job = http.get("/v4/slow/volumes", headers=NO_CACHE).json()
    tag = http.get(f"/v4/jobs/{job['id']}").headers["ETag"]
    with ThreadPoolExecutor(300) as pool:
        polls = [
            pool.submit(http.get, f"/v4/jobs/{job['id']}", headers={"Prefer": "wait=6", "If-None-Match": tag})
            for _ in range(300)
        ]
        assert stranger.get("/healthz", timeout=3).status_code == 200
        assert {poll.result().status_code for poll in polls} <= {200, 304}
    http.ended(job["id"])
