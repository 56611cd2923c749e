"""Section 2 of the contract: what becomes of a request for a change."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.client import Client, Service, problem

URL = "/v4/dummy/volumes"
ODD_NAMES = [
    "a b", "a*", "a|b", "!a", "..", ".hidden", "-x", "a,b", "x" * 204, "a%00b", "%C3%A9", "a<b", "a%0Ab",
    "n:/a//b", "n:/a/", "n:/a/..%2Fb", "n:/snapshots/x", "n:relative",
]  # fmt: skip


class TestAccepted:
    def test_a_change_is_accepted_with_its_job(self, http: Client, name: str) -> None:
        answer = http.post(f"{URL}/{name}", json={"size_total": 2**30})
        assert answer.status_code == 202
        job = answer.json()
        assert answer.headers["Location"] == answer.headers["Operation-Location"] == f"/v4/jobs/{job['id']}"
        assert int(answer.headers["Retry-After"]) >= 1
        assert (job["operation"], job["subsystem"], job["target"]) == ("create_volume", "dummy", f"{URL}/{name}")
        assert job["request"] == {"volume": name, "size_total": 2**30}
        assert uuid.UUID(job["id"]).version == 7
        assert http.ended(job["id"])["state"] == "succeeded"

    def test_a_request_that_waits_gets_the_result(self, http: Client, name: str) -> None:
        answer = http.change("POST", f"{URL}/{name}", {"size_total": 2**30, "active_policy_name": "default"})
        assert (answer.status_code, answer.headers["Location"]) == (201, f"{URL}/{name}")
        assert answer.headers["Preference-Applied"] == "wait=20"
        assert answer.headers["Operation-Location"].startswith("/v4/jobs/")
        assert (answer.json()["name"], answer.json()["size_total"]) == (name, 2**30)

    def test_a_wait_that_is_too_short_returns_the_job(self, http: Client, name: str) -> None:
        answer = http.change("POST", f"/v4/slow/volumes/{name}", {}, wait=0)
        assert answer.status_code == 202
        assert "Preference-Applied" not in answer.headers

    def test_a_request_that_waits_gets_the_problem_of_a_failed_job(self, http: Client, volume: str) -> None:
        answer = http.change("POST", f"{URL}/{volume}", {})
        problem(answer, 409, "already-exists")
        assert answer.headers["Operation-Location"].startswith("/v4/jobs/")

    def test_the_request_id_is_used_and_stored_with_the_job(self, http: Client, name: str) -> None:
        answer = http.post(f"{URL}/{name}", json={}, headers={"X-Request-ID": "my-own.id:1"})
        assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "my-own.id:1"


class TestIdempotency:
    def test_the_same_request_again_is_the_same_job(self, http: Client, name: str) -> None:
        key = uuid.uuid4().hex
        first = http.post(f"{URL}/{name}", json={"size_total": 2**30}, headers={"Idempotency-Key": key})
        again = http.post(f"{URL}/{name}", json={"size_total": 2**30}, headers={"Idempotency-Key": f'"{key}"'})
        assert first.json()["id"] == again.json()["id"]
        assert again.headers["Idempotency-Replayed"] == "true"
        assert "Idempotency-Replayed" not in first.headers

    def test_another_request_under_the_key_is_refused(self, http: Client, name: str) -> None:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        http.post(f"{URL}/{name}", json={"size_total": 2**30}, headers=key)
        problem(http.post(f"{URL}/{name}", json={"size_total": 2**31}, headers=key), 422, "idempotency-key-reused")

    @pytest.mark.parametrize("key", ["", "x" * 256, '""'])
    def test_a_key_that_is_empty_or_too_long_is_refused(self, http: Client, name: str, key: str) -> None:
        problem(http.post(f"{URL}/{name}", json={}, headers={"Idempotency-Key": key}), 400, "invalid-request")

    def test_a_hundred_simultaneous_requests_with_one_key_make_one_job(self, http: Client, name: str) -> None:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        with ThreadPoolExecutor(20) as pool:
            futures = [pool.submit(http.post, f"{URL}/{name}", json={}, headers=key) for _ in range(100)]
        assert len({answer.result().json()["id"] for answer in futures}) == 1


class TestRefusedAtOnce:
    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"{", 400, "invalid-request"),
            (b'{"size_total": 1, "size_total": 2}', 400, "invalid-request"),
            (b'{"size_total": NaN}', 400, "invalid-request"),
            (b"\xff\xfe", 400, "invalid-request"),
            (b"[]", 422, "validation-failed"),
            (b'{"size_total": "1"}', 422, "validation-failed"),
            (b'{"size_total": 1.5}', 422, "validation-failed"),
            (b'{"size_total": true}', 422, "validation-failed"),
            (b'{"size_total": -1}', 422, "validation-failed"),
            (b'{"size_total": 9223372036854775808}', 422, "validation-failed"),
            (b'{"percentage_snapshot_reserve": 101}', 422, "validation-failed"),
            (b'{"colour": "red"}', 422, "validation-failed"),
            (b'{"name": "another"}', 422, "validation-failed"),
            (b'{"from_volume": "x"}', 422, "validation-failed"),
            (b'{"junction_path": "no-slash"}', 422, "validation-failed"),
            (b'{"size_total": null}', 422, "validation-failed"),
        ],
    )
    def test_an_invalid_body_is_refused(self, http: Client, name: str, body: bytes, status: int, code: str) -> None:
        answer = http.post(f"{URL}/{name}", data=body, headers={"Content-Type": "application/json"})
        problem(answer, status, code)

    def test_the_pointer_names_the_member(self, http: Client, name: str) -> None:
        document = problem(http.post(f"{URL}/{name}", json={"size_total": "1"}), 422, "validation-failed")
        assert [error["pointer"] for error in document["errors"]] == ["/size_total"]

    def test_another_media_type_is_refused(self, http: Client, name: str) -> None:
        problem(
            http.post(f"{URL}/{name}", data="a=1", headers={"Content-Type": "text/plain"}),
            415,
            "unsupported-media-type",
        )

    def test_a_body_that_is_too_large(self, http: Client, name: str) -> None:
        answer = http.post(
            f"{URL}/{name}", data=b'"' + b"x" * 2_000_000 + b'"', headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413
        assert answer.headers["Content-Type"] == "application/problem+json"

    def test_an_unknown_subsystem(self, http: Client, name: str) -> None:
        problem(http.post(f"/v4/nowhere/volumes/{name}", json={}), 404, "no-such-subsystem")

    def test_an_anonymous_request_is_refused(self, stranger: Client, name: str) -> None:
        answer = stranger.post(f"{URL}/{name}", json={})
        problem(answer, 401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"]

    def test_an_empty_patch_is_refused(self, http: Client, volume: str) -> None:
        problem(http.patch(f"{URL}/{volume}", json={}), 422, "validation-failed")

    @pytest.mark.parametrize("odd", ODD_NAMES)
    def test_an_invalid_name_is_refused(self, http: Client, odd: str) -> None:
        # Who is answered before the body has come is answered once: the server closes that connection.
        headers = {"Connection": "close"}
        for method in ("GET", "POST", "PATCH", "DELETE"):
            body = {"size_total": 1} if method in ("POST", "PATCH") else None
            answer = http.request(method, f"{URL}/{odd}", json=body, headers=headers)
            assert answer.status_code in (404, 405, 422), (method, odd, answer.text)
            assert answer.headers["Content-Type"] == "application/problem+json"

    def test_an_unknown_query_parameter(self, http: Client, name: str) -> None:
        for path in (URL, f"{URL}/{name}", "/v4/jobs", "/v4/dummy/export"):
            problem(http.get(path, params={"nonsense": "1"}), 422, "validation-failed")
        problem(http.post(f"{URL}/{name}", json={}, params={"nonsense": "1"}), 422, "validation-failed")


class TestOrder:
    def test_changes_of_one_volume_are_done_in_the_order_of_their_acceptance(self, http: Client, volume: str) -> None:
        jobs = []
        for number in range(12):
            path = volume if number % 3 else f"any:/{volume}"
            jobs.append(http.submit("PATCH", f"{URL}/{path}", {"max_autosize": 2**33 + number}))
        ended = [http.ended(job["id"]) for job in jobs]
        assert {job["state"] for job in ended} == {"succeeded"}
        assert [job["started_at"] for job in ended] == sorted(job["started_at"] for job in ended)
        assert http.get(f"{URL}/{volume}").json()["max_autosize"] == 2**33 + 11

    def test_a_slow_listing_delays_neither_a_change_nor_a_look_up(self, http: Client, name: str) -> None:
        listing = http.get("/v4/slow/volumes", headers={"Prefer": "respond-async", "Cache-Control": "no-cache"}).json()
        assert http.change("POST", f"/v4/slow/volumes/{name}", {}).status_code == 201
        assert http.get(f"/v4/slow/volumes/{name}").json()["name"] == name
        job: dict[str, Any] = http.get(f"/v4/jobs/{listing['id']}").json()
        assert job["state"] == "running"
        http.ended(listing["id"])
        assert name in [volume["name"] for volume in http.get("/v4/slow/volumes").json()]


class TestUnreachableStorage:
    def test_a_change_is_retried_and_then_fails(self, http: Client, service: Service, name: str) -> None:
        service.away_file.touch()
        try:
            job = http.submit("POST", f"/v4/away/volumes/{name}", {})
            reasons, tag, ended = set(), '"1"', job
            while not ended["done"]:
                answer = http.get(f"/v4/jobs/{job['id']}", headers={"Prefer": "wait=5", "If-None-Match": tag})
                if answer.status_code == 200:
                    tag, ended = answer.headers["ETag"], answer.json()
                    reasons.add(ended["queue"]["waiting_reason"])
        finally:
            service.away_file.unlink()
        assert "backend-unavailable" in reasons
        assert (ended["state"], ended["error"]["code"], ended["error"]["retryable"]) == (
            "failed", "backend-unavailable", True,
        )  # fmt: skip
        again = http.post(f"/v4/jobs/{job['id']}/retry")
        assert again.status_code == 202
        assert again.json()["retry_of"] == job["id"]
        assert http.ended(again.json()["id"])["state"] in ("succeeded", "failed")

    def test_an_old_copy_is_served_while_the_filer_is_unavailable(self, http: Client, service: Service) -> None:
        listed = http.get("/v4/away/volumes").json()
        service.away_file.touch()
        try:
            served = http.get("/v4/away/volumes", headers={"Cache-Control": "max-age=0"})
        finally:
            service.away_file.unlink()
        assert served.status_code == 200
        assert served.json() == listed


class TestConditions:
    def test_a_change_cannot_be_made_conditional(self, http: Client, volume: str) -> None:
        tag = http.get(f"{URL}/{volume}").headers["ETag"]
        for condition in (tag, '"other"', "*"):
            answer = http.request(
                "PATCH", f"{URL}/{volume}", json={"size_total": 2**31}, headers={"If-Match": condition}
            )
            problem(answer, 412, "precondition-failed")
        assert http.get(f"{URL}/{volume}", headers={"Cache-Control": "no-cache"}).json()["size_total"] == 2**30

    def test_the_response_of_an_accepted_change_has_the_version_of_its_job(self, http: Client, name: str) -> None:
        answer = http.post(f"/v4/slow/volumes/{name}", json={})
        polled = http.get(
            answer.headers["Location"], headers={"If-None-Match": answer.headers["ETag"], "Prefer": "wait=5"}
        )
        assert polled.status_code == 200
        assert polled.headers["ETag"] != answer.headers["ETag"]
        http.ended(answer.json()["id"])
