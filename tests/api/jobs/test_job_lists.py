"""The list of jobs: its order, filters and pages, and whose jobs are in it."""

from __future__ import annotations

import base64

import pytest

from api.schemas.jobs import JOB_OPERATIONS
from tests.api.front_end import accepted, pointers, problem
from worker.catalog.operations import Role
from worker.jobs.query import key_of
from worker.jobs.record import State


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

    def test_times_may_have_microseconds(self, client, paths):
        """Within the millisecond in which a job was accepted it is before, and not after."""
        created = client.get(paths[0]).json["created_at"]
        assert paths[0] in self.listed(client.get(f"/v4/jobs?created_before={created[:-1]}5Z"))

    def test_the_list_is_paginated(self, client, paths):
        page = client.get("/v4/jobs?limit=1&operation=create_volume")
        for path in paths:
            assert self.listed(page) == [path]
            link = page.headers["Link"]
            assert "limit=1&" in link
            assert link.endswith('>; rel="next"')
            page = client.get(link.partition(">")[0][1:])
        assert self.listed(page) == []
        assert "Link" not in page.headers

    @pytest.mark.parametrize("number", [1, *(10**digits for digits in range(1, 15))])
    def test_a_page_begins_below_any_number(self, client, paths, number):
        token = base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")
        assert self.listed(client.get(f"/v4/jobs?page_token={token}")) == (paths if number > 1 else [])

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
            ("subsystem=other", []),
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
    def test_each_filter(self, client, paths, query, numbers):
        assert self.listed(client.get(f"/v4/jobs?{query}")) == [paths[number] for number in numbers]

    def test_reads_are_matched_by_their_volume(self, client, paths):
        read = accepted(client.get("/v4/filer/volumes/b/snapshots", headers={"Prefer": "respond-async"}))
        assert self.listed(client.get("/v4/jobs?volume=b")) == [read, paths[1]]

    def test_jobs_are_filtered_by_id(self, client, paths):
        ids = ",".join(path.rpartition("/")[2] for path in paths[:2])
        assert self.listed(client.get(f"/v4/jobs?id={ids},nonsense")) == paths[:2]
        assert self.listed(client.get(f"/v4/jobs?id={ids.upper()}")) == paths[:2]

    def test_lists_by_id_are_paginated(self, client, paths):
        ids = ",".join(path.rpartition("/")[2] for path in paths)
        first = client.get(f"/v4/jobs?limit=2&id={ids}")
        assert self.listed(first) == paths[:2]
        second = client.get(first.headers["Link"].partition(">")[0][1:])
        assert self.listed(second) == paths[2:]
        assert "Link" not in second.headers

    @pytest.mark.parametrize(("name", "longest"), [("subsystem", 63), ("volume", 4096), ("batch", 64),
                                                   ("requested_by", 1024)])  # fmt: skip
    def test_the_length_of_filter_values_is_limited(self, client, name, longest):
        assert client.get("/v4/jobs", query_string={name: "x" * longest}).json == []
        refused = client.get("/v4/jobs", query_string={name: "x" * (longest + 1)})
        assert pointers(problem(refused, 422, "validation-failed")) == [f"/{name}"]

    @pytest.mark.parametrize(("count", "status"), [(200, 200), (201, 422)])
    def test_the_number_of_ids_is_limited(self, client, count, status):
        assert client.get(f"/v4/jobs?id={','.join(map(str, range(count)))}").status_code == status

    def test_an_id_may_be_in_upper_case(self, client, paths):
        job_id = paths[0].rpartition("/")[2]
        assert client.get(f"/v4/jobs/{job_id.upper()}").json["id"] == job_id

    def test_own_jobs_are_listed_whatever_role_they_needed(self, front_end, paths):
        user = front_end.client(Role.USER)
        for query in ("", "?all=true", "?requested_by=ann", "?all=true&requested_by=ann"):
            assert self.listed(user.get(f"/v4/jobs{query}")) == paths

    def test_jobs_of_others_are_listed_with_all(self, front_end, redis_client, client, paths):
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
            "page_token=MTIz!!!!",
            "page_token=abcd",
            f"page_token={base64.urlsafe_b64encode(b'x1').decode().rstrip('=')}",
            f"page_token={base64.urlsafe_b64encode(b'9' * 16).decode().rstrip('=')}",
            "id=",
            "colour=red",
        ],
    )
    def test_invalid_parameters_are_reported(self, client, query):
        document = problem(client.get(f"/v4/jobs?{query}"), 422, "validation-failed")
        assert pointers(document) == [f"/{query.partition('=')[0]}"]

    @pytest.mark.parametrize("query", ["state=", "state=odd", "state=queued,odd", "operation=", "operation=,"])
    def test_the_accepted_values_are_reported(self, client, query):
        (wrong,) = problem(client.get(f"/v4/jobs?{query}"), 422, "validation-failed")["errors"]
        first, *_ = sorted(State) if query.startswith("state") else sorted(JOB_OPERATIONS)
        assert wrong["detail"].startswith(f"must be one or more of {first}, ")

    def test_anonymous_requests_are_refused(self, front_end):
        problem(front_end.stranger().get("/v4/jobs"), 401, "unauthenticated")
