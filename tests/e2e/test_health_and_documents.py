"""What stands around the operations: health, documents, configuration, errors of every kind, and Flower."""

from __future__ import annotations

import http.client
import time
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.e2e.client import Client, Service, problem


class TestHealth:
    def test_health_readiness_and_metrics(self, stranger: Client) -> None:
        assert stranger.get("/healthz").status_code == 200
        ready = stranger.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        metrics = stranger.get("/metrics")
        assert metrics.status_code == 200
        assert "sapi_jobs_ended_total" in metrics.text


class TestConfiguration:
    def test_roles_of_the_caller(self, http: Client, stranger: Client) -> None:
        assert sorted(http.get("/conf/me/roles").json()) == ["ADMIN", "UBER_ADMIN", "USER"]
        assert stranger.get("/conf/me/roles").json() == ["USER"]
        assert set(http.get("/conf/roles").json()) == {"USER", "ADMIN", "UBER_ADMIN"}
        assert "dummy" in str(http.get("/conf/subsystems").json())
        assert stranger.get("/conf/roles/ADMIN/am_i_a").status_code == 200
        assert stranger.get("/conf/roles/NOBODY/am_i_a").status_code == 404

    def test_signing_out_ends_the_session(self, http: Client) -> None:
        cookie = http.cookies.get_dict()
        http.get("/logout")
        answer = requests.get(f"{http.url}/v4/jobs", cookies=cookie, timeout=10)
        problem(answer, 401, "unauthenticated")


class TestErrors:
    def test_an_unknown_address(self, stranger: Client) -> None:
        problem(stranger.get("/v4/dummy/nothing"), 404, "not-found")
        problem(stranger.get("/nothing"), 404, "not-found")

    def test_a_method_that_the_address_does_not_take(self, stranger: Client) -> None:
        answer = stranger.put("/v4/dummy/volumes")
        problem(answer, 405, "method-not-allowed")
        assert "GET" in answer.headers["Allow"]

    @pytest.mark.parametrize("length", [9_000, 50_000])
    def test_a_url_that_is_too_long(self, stranger: Client, length: int) -> None:
        answer = stranger.get("/v4/dummy/volumes?name=" + "x" * length)
        assert (answer.status_code, answer.headers["Content-Type"]) == (414, "application/problem+json")

    def test_headers_that_are_too_large(self, stranger: Client) -> None:
        answer = stranger.get("/healthz", headers={"X-Large": "x" * 40_000})
        assert (answer.status_code, answer.headers["Content-Type"]) == (431, "application/problem+json")

    @pytest.mark.parametrize(
        "path", ["/v4/dummy/volumes/../../..", "/v4//volumes", "/v4/dummy/volumes//", "/%", "/%ff%fe"]
    )
    def test_paths_that_clients_would_normalize_are_refused(self, service: Service, path: str) -> None:
        where = urlsplit(service.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
        with closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert 400 <= answer.status < 500
            assert answer.getheader("Content-Type") == "application/problem+json"

    def test_a_page_of_another_site_changes_nothing(self, http: Client, name: str) -> None:
        answer = http.post(f"/v4/dummy/volumes/{name}", json={}, headers={"Origin": "https://evil.example"})
        problem(answer, 403, "cross-site-request")


class TestFlower:
    def test_shows_a_failed_job_as_failed(self, http: Client, service: Service) -> None:
        job = http.ended(http.submit("DELETE", "/v4/dummy/volumes/not_there_at_all")["id"])
        task = _in_flower(service, job["id"], "FAILURE")
        assert (task["state"], task["name"], task["uuid"]) == ("FAILURE", "storage.restrict_volume", job["id"])

    def test_shows_a_queued_job_as_not_started(self, http: Client, service: Service) -> None:
        *_, last = (http.submit("DELETE", "/v4/slow/volumes/not_there_either") for _ in range(8))
        task = _in_flower(service, last["id"], "RECEIVED")
        assert http.get(f"/v4/jobs/{last['id']}").json()["state"] == "queued"
        assert (task["state"], task["started"]) == ("RECEIVED", None)
        http.ended(last["id"])
        assert _in_flower(service, last["id"], "FAILURE")["started"]

    def test_worker_control_is_refused(self, service: Service) -> None:
        answer = requests.post(f"{service.flower}/api/worker/shutdown/quick1@anywhere", timeout=20)
        assert answer.status_code in (401, 403, 404)


def _in_flower(service: Service, job_id: str, state: str) -> dict[str, Any]:
    """The task as Flower shows it, when its events have come."""
    task: dict[str, Any] = {}
    until = time.monotonic() + 20
    while task.get("state") != state and time.monotonic() < until:
        answer = requests.get(f"{service.flower}/api/task/info/{job_id}", timeout=20)
        task = answer.json() if answer.status_code == 200 else {}
        time.sleep(0.1)
    return task
