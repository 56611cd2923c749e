"""Batches for each volume of a filter."""

from __future__ import annotations

from typing import Any

import pytest

from api.batches import batch_request
from tests.api.batches.batch_requests import members_of
from tests.api.front_end import accepted, pointers, problem
from worker.catalog.operations import Role

URL = "/v4/batches"


class TestForEach:
    @pytest.fixture
    def volumes(self, client, worker):
        """Three volumes, in a cached listing."""
        for name in ("db1", "db2", "web"):
            worker.carry_out(accepted(client.post(f"/v4/filer/volumes/{name}")))
        headers = {"Prefer": "respond-async"}
        worker.carry_out(accepted(client.get("/v4/filer/volumes", headers=headers)))

    def order(self, where: str, path: str = "/v4/filer/volumes/{name}/snapshots/pre", **body: Any) -> dict[str, Any]:
        request = {"method": "POST", "path": path, "body": body}
        return {"for_each": {"subsystem": "filer", "where": where}, "request": request}

    def test_a_member_is_made_for_each_matching_volume(self, client, volumes):
        response = client.post(URL, json=self.order("name=db*&state=online"))
        batch = client.get(accepted(response)).json
        assert (response.json or {})["request"]["chosen"] == batch["request"]["chosen"] == ["db1", "db2"]
        assert batch["request"]["for_each"] == {"subsystem": "filer", "where": "name=db*&state=online"}
        targets = [job["target"] for job in members_of(client, accepted(response))]
        assert targets == ["/v4/filer/volumes/db1/snapshots/pre", "/v4/filer/volumes/db2/snapshots/pre"]

    def test_order_and_limit_apply_to_the_choice(self, client, volumes):
        for where, chosen in (("name=db*|web&sort=-name&limit=2", ["web", "db2"]), ("limit=1", ["acclog_backup01"])):
            response = client.post(URL, json=self.order(where))
            assert client.get(accepted(response)).json["request"]["chosen"] == chosen

    def test_the_audit_log_has_the_batch_and_not_the_choice(self, client, volumes, audit):
        accepted(client.post(URL, json=self.order("name=db*")))
        line = audit()[-1]
        assert (line["operation"], line["target"]) == ("create_batch", URL)

    @pytest.mark.parametrize(("most", "status"), [(2, 202), (1, 422)])
    def test_the_number_of_chosen_volumes_is_limited(self, client, volumes, monkeypatch, most, status):
        monkeypatch.setattr(batch_request, "MOST_MEMBERS", most)
        assert client.post(URL, json=self.order("name=db*")).status_code == status

    def test_the_name_may_be_in_the_path_twice(self, client, volumes):
        response = client.post(URL, json=self.order("name=web", "/v4/filer/volumes/{name}/snapshots/of-{name}"))
        (member,) = members_of(client, accepted(response))
        assert member["target"] == "/v4/filer/volumes/web/snapshots/of-web"

    def test_the_name_may_be_in_the_body(self, client, volumes):
        order = self.order("name=web", "/v4/filer/volumes/{name}-copy", from_volume="{name}", from_snapshot="s")
        (member,) = members_of(client, accepted(client.post(URL, json=order)))
        assert (member["operation"], member["request"]["from_volume"]) == ("clone_volume", "web")
        assert member["request"]["volume"] == "web-copy"

    def test_the_name_may_be_in_a_list_of_the_body(self, client, volumes):
        order = self.order("name=web", "/v4/filer/export/{name}", rules=["{name}.example.org", "h1"])
        (member,) = members_of(client, accepted(client.post(URL, json=order)))
        assert member["request"]["rules"] == ["web.example.org", "h1"]

    def test_an_empty_choice_is_refused(self, client, volumes):
        document = problem(client.post(URL, json=self.order("name=none*")), 422, "validation-failed")
        assert pointers(document) == ["/for_each/where"]

    def test_a_choice_requires_the_role_for_listing_volumes(self, front_end, volumes, request):
        client = front_end.client(Role.ADMIN)
        audit = request.getfixturevalue("audit")
        response = client.post(URL, json=self.order("name=db*"))
        assert problem(response, 403, "missing-role")["role"] == Role.USER
        line = audit()[-1]
        assert (line["operation"], line["allowed"]) == ("list_volumes", False)

    def test_a_repeated_idempotency_key_chooses_no_other_volumes(self, client, worker, volumes, redis_client):
        order = {**self.order("name=db1"), "request": {"method": "DELETE", "path": "/v4/filer/volumes/{name}"}}
        headers = {"Idempotency-Key": "each"}
        first = accepted(client.post(URL, json=order, headers=headers))
        worker.carry_out(members_of(client, first)[0]["links"]["self"])
        # Who does not wait is answered with the job, as always.
        assert accepted(client.post(URL, json=order, headers=headers)) == first
        again = client.post(URL, json=order, headers=headers | {"Prefer": "wait=1"})
        assert (again.status_code, [row["status"] for row in again.json]) == (200, [204])
        assert (again.headers["Idempotency-Replayed"], again.headers["Operation-Location"]) == ("true", first)
        problem(client.post(URL, json=self.order("name=none*"), headers=headers), 422, "idempotency-key-reused")
        problem(client.post("/v4/jobs/retry", json={"id": "x"}, headers=headers), 422, "idempotency-key-reused")
        redis_client.delete(f"sapi:job:{first.rpartition('/')[2]}")
        problem(client.post(URL, json=order, headers=headers), 410, "job-expired")

    @pytest.mark.parametrize("where", ["colour=red", "size_used=>x", "fields=name", "limit=0", "name="])
    def test_an_invalid_query_is_refused(self, client, volumes, where):
        document = problem(client.post(URL, json=self.order(where)), 422, "validation-failed")
        assert pointers(document) == ["/for_each/where"]

    def test_a_page_token_in_the_query_is_refused(self, client, volumes):
        link = client.get("/v4/filer/volumes?limit=1&sort=name").headers["Link"]
        token = link.partition("page_token=")[2].partition(">")[0]
        response = client.post(URL, json=self.order(f"sort=name&page_token={token}"))
        assert "page_token makes no sense" in problem(response, 422, "validation-failed")["detail"]

    def test_an_error_that_all_members_share_is_reported_once(self, client, volumes):
        order = self.order("name=db*", "/v4/filer/volumes/{name}/snapshots/-")
        document = problem(client.post(URL, json=order), 422, "validation-failed")
        assert pointers(document) == ["/request/path"]
        order = self.order("name=db*", size_total="1", colour="red")
        document = problem(client.post(URL, json=order), 422, "validation-failed")
        assert sorted(pointers(document)) == ["/request/body/colour", "/request/body/size_total"]
        assert document["detail"].count("colour") == 1

    def test_a_role_that_all_members_need_is_reported_once(self, front_end, volumes):
        order = self.order("name=db*", "/v4/filer/volumes/{name}")
        order["request"]["method"] = "DELETE"
        response = front_end.client(Role.USER, Role.ADMIN).post(URL, json=order)
        assert pointers(problem(response, 403, "missing-role")) == ["/request"]

    @pytest.mark.parametrize(("wait", "waits"), [("wait=0", []), ("wait=7", [7.0]), ("", [2.0])])
    def test_the_wait_for_a_listing_is_that_of_the_request(self, client, monkeypatch, wait, waits):
        waited: list[float] = []
        monkeypatch.setattr("api.reads.lookup.wait_for_end", lambda _services, _job, seconds: waited.append(seconds))
        problem(client.post(URL, json=self.order("name=db*"), headers={"Prefer": wait}), 504, "not-cached")
        assert waited == waits

    def test_without_a_cached_listing_a_read_job_is_submitted(self, client, worker):
        response = client.post(URL, json=self.order("name=db*"), headers={"Prefer": "wait=0"})
        assert problem(response, 504, "not-cached")["retryable"] is True
        assert int(response.headers["Retry-After"]) >= 1
        assert client.get(response.headers["Operation-Location"]).json["target"] == "/v4/filer/volumes"
        worker.carry_out(response.headers["Operation-Location"])
        problem(client.post(URL, json=self.order("name=none*")), 422, "validation-failed")
