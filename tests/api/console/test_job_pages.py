"""The pages of jobs: what they say of a job, and what they offer to whom."""

from __future__ import annotations

import re
from html import unescape

import pytest
from werkzeug.datastructures import Headers

from api.console.api_client import ApiResponse
from tests.api.console.page_links import query_of
from tests.api.front_end import FrontEnd, accepted
from worker.catalog.operations import Role
from worker.execution.claims import Completion
from worker.jobs.query import key_of
from worker.jobs.record import State


class TestJob:
    def test_a_job_says_what_it_waits_for(self, client):
        read = accepted(client.get("/v4/filer/volumes/w1/locks", headers={"Prefer": "respond-async"}))
        first = accepted(client.post("/v4/filer/volumes/w1", json={})).rpartition("/")[2]
        second = accepted(client.post("/v4/filer/volumes/w1/snapshots/s", json={})).rpartition("/")[2]
        other = accepted(client.post("/v4/filer/volumes/w2", json={})).rpartition("/")[2]
        third = accepted(client.post("/v4/filer/volumes/w1/snapshots/t", json={})).rpartition("/")[2]
        page = client.get(f"/console/jobs/{third}").text
        ahead = page.partition('id="ahead-head"')[2].partition("</section>")[0]
        # The first comes first.
        assert 0 < ahead.index(first) < ahead.index(second)
        page = client.get(f"/console/jobs/{second}").text
        ahead = page.partition('id="ahead-head"')[2].partition("</section>")[0]
        assert first in ahead
        assert other not in ahead
        # A read holds no change up.
        assert read.rpartition("/")[2] not in ahead
        assert "before it in" in page
        # It waits for those alone that came earlier, and for nothing once it has ended.
        assert "ahead-head" not in client.get(f"/console/jobs/{first}").text
        assert client.post(f"/v4/jobs/{second}/cancel").status_code == 200
        assert "ahead-head" not in client.get(f"/console/jobs/{second}").text

    def test_without_earlier_ones_of_its_volume_it_waits_for_those_of_its_queue(self, client, worker):
        change = accepted(client.post("/v4/filer/volumes/w1", json={}))
        read = accepted(client.get("/v4/filer/volumes", headers={"Prefer": "respond-async"}))
        for path in (change, read):
            worker.take(path)
        waits = accepted(client.post("/v4/filer/volumes/w2", json={})).rpartition("/")[2]
        ahead = client.get(f"/console/jobs/{waits}").text.partition('id="ahead-head"')[2].partition("</section>")[0]
        assert change.rpartition("/")[2] in ahead
        assert read.rpartition("/")[2] not in ahead

    def test_a_failed_job_says_what_to_do_and_can_be_retried_once(self, client, worker):
        path = accepted(client.post("/v4/filer/volumes/f1", json={}))
        worker.fail(path, "worker-lost")
        job = path.rpartition("/")[2]
        assert "“Retry” submits it once more" in client.get(f"/console/jobs/{job}").text
        answers = [client.post(f"/console/jobs/{job}/retry") for _ in range(2)]
        assert answers[0].status_code == 303
        assert answers[0].headers["Location"] == answers[1].headers["Location"]
        assert job in client.get(answers[0].headers["Location"]).text
        other = accepted(client.post("/v4/filer/volumes/f2", json={}))
        worker.fail(other, "worker-lost")
        location = client.post(f"/console/jobs/{other.rpartition('/')[2]}/retry").headers["Location"]
        assert location not in (answers[0].headers["Location"], f"/console{other.removeprefix('/v4')}")

    def test_cancel_and_retry_are_offered_by_role(self, front_end: FrontEnd, client, worker, redis_client):
        queued = accepted(client.post("/v4/filer/volumes/c1", json={})).rpartition("/")[2]
        failed = accepted(client.post("/v4/filer/volumes/c2", json={}))
        worker.fail(failed, "backend-error")
        user = front_end.client(Role.USER)
        assert "/cancel" in user.get(f"/console/jobs/{queued}").text  # It is the same user's own.
        redis_client.hset(f"sapi:job:{queued}", mapping={"requester": "bob", "requester_key": "x"})
        for roles, may_cancel in (((Role.USER, Role.ADMIN), False), ((Role.USER, Role.UBER_ADMIN), True)):
            page = front_end.client(*roles).get(f"/console/jobs/{queued}")
            assert (page.status_code, f"{queued}/cancel" in page.text) == (200, may_cancel)
        assert f"{failed.rpartition('/')[2]}/retry" not in user.get(f"/console/jobs/{failed.rpartition('/')[2]}").text
        assert f"{failed.rpartition('/')[2]}/retry" in client.get(f"/console/jobs/{failed.rpartition('/')[2]}").text

    def test_cancel_is_not_offered_for_a_job_that_cannot_be_cancelled(self, client, worker, redis_client):
        path = accepted(client.post("/v4/filer/volumes/c3", json={}))
        job = path.rpartition("/")[2]
        worker.take(path)
        assert f"{job}/cancel" in client.get(f"/console/jobs/{job}").text
        redis_client.hset(f"sapi:job:{job}", "cancellable", "0")
        assert f"{job}/cancel" not in client.get(f"/console/jobs/{job}").text

    def test_a_change_in_doubt_is_settled_by_uber_admin_until_it_has_ended(
        self, front_end, client, worker, redis_client
    ):
        path = accepted(client.post("/v4/filer/volumes/d1", json={}))
        job = path.rpartition("/")[2]
        worker.take(path)
        redis_client.hset(f"sapi:job:{job}", "message", "copying")
        assert f"{job}/settle" not in client.get(f"/console/jobs/{job}").text
        redis_client.hset(f"sapi:job:{job}", mapping={"in_doubt_since": "1", "message": "the outcome is being settled"})
        assert f"{job}/settle" in client.get(f"/console/jobs/{job}").text
        assert f"{job}/settle" not in front_end.client(Role.USER, Role.ADMIN).get(f"/console/jobs/{job}").text
        assert client.post(f"/console/jobs/{job}/settle", data={"outcome": "succeeded"}).status_code == 303
        assert client.get(path).json["state"] == "succeeded"
        assert f"{job}/settle" not in client.get(f"/console/jobs/{job}").text

    def test_a_job_links_to_flower_and_to_its_volume(self, redis_url, redis_client):
        front_end = FrontEnd(redis_url, flower_url="https://flower.example.org/f", user_groups=())
        client = front_end.client()
        job = accepted(client.post("/v4/filer/volumes/l1", json={})).rpartition("/")[2]
        page = client.get(f"/console/jobs/{job}").text
        assert f'href="https://flower.example.org/f/task/{job}"' in page
        assert 'href="/console/filer/volumes/l1"' in page
        # Flower refuses clients that have not signed in.
        pages = [each.get("/console/").text for each in (client, front_end.stranger())]
        assert ['href="https://flower.example.org/f"' in page for page in pages] == [True, False]

    def test_an_invalid_filter_is_reported_at_the_field(self, client):
        answer = client.get("/console/jobs?created_after=yesterday")
        assert answer.status_code == 422
        assert 'id="e-created_after" class="error"' in answer.text


@pytest.mark.parametrize(
    ("listing", "page", "other"),
    [
        ("volumes", "volumes?refresh=1", "volumes"),
        ("volumes/db01/snapshots", "volume-actions/roll-back/db01", "volumes/db01"),
    ],
)
def test_pages_that_reload_or_confirm_require_a_fresh_listing(redis_url, redis_client, filled, listing, page, other):
    client = FrontEnd(redis_url, settings={"cache_fresh": 86400}, max_wait=0).client()
    key = f"sapi:listing:filer/{listing}"
    redis_client.hset(key, "as_of", int(redis_client.hget(key, "as_of")) - 30_000)
    assert [client.get(f"/console/filer/{path}").status_code for path in (other, page)] == [200, 202]


class TestManyJobs:
    """What can be done to all jobs that a filter names."""

    @pytest.fixture
    def queued(self, client) -> list[str]:
        """The ids of three changes that wait, the newest first."""
        paths = [accepted(client.post(f"/v4/filer/volumes/{name}")) for name in ("a", "b", "c")]
        return [path.rpartition("/")[2] for path in reversed(paths)]

    @staticmethod
    def _fields(page: str) -> dict[str, str]:
        return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', unescape(page)))

    def test_queued_jobs_are_cancelled_and_retried(self, client, queued):
        listed = client.get("/console/jobs?all=true&state=queued&volume=b").text
        (form,) = re.findall(r'href="(/console/job-actions/[^"]+)"', listed)
        page = client.get(form.replace("&amp;", "&")).text
        assert "Cancel 1 job" in page
        done = client.post("/console/job-actions/cancel", data=self._fields(page) | {"operation": ""}).text
        assert "1 job cancelled" in done
        states = [client.get(f"/v4/jobs/{job_id}").json["state"] for job_id in queued]
        assert states == ["queued", "cancelled", "queued"]
        fields = self._fields(client.get("/console/job-actions/retry?all=true&state=cancelled").text)
        for _ in range(2):
            again = client.post("/console/job-actions/retry", data=fields).text
            assert "1 job submitted anew" in again
        assert len(client.get("/v4/jobs?volume=b").json) == 2

    def test_jobs_of_all_users_are_cancelled_if_the_page_lists_them(self, client, queued, redis_client):
        ann, bob = key_of("basic ann"), key_of("bob")
        for key in redis_client.keys(f"sapi:index*requester:{ann}*"):
            redis_client.rename(key, key.replace(ann.encode(), bob.encode()))
        for job_id in queued:
            redis_client.hset(f"sapi:job:{job_id}", mapping={"requester": "bob", "requester_key": bob})
        fields = self._fields(client.get("/console/job-actions/cancel?all=true&state=queued").text)
        assert "3 jobs cancelled" in client.post("/console/job-actions/cancel", data=fields).text

    def test_every_matching_job_is_counted_on_each_page_of_the_list(self, client, queued):
        first = client.get("/console/jobs?state=queued&limit=1").text
        second = client.get("/console/jobs", query_string=query_of(first, "next")).text
        forms = [re.findall(r'href="(/console/job-actions/[^"]+)"', each) for each in (first, second)]
        assert ["Cancel 3 jobs" in client.get(unescape(form)).text for (form,) in forms] == [True, True]

    @pytest.mark.parametrize(("count", "words"), [(200, "Show them"), (201, "Show the first 200")])
    def test_the_link_to_the_changed_jobs_has_as_many_ids_as_allowed(self, client, monkeypatch, count, words):
        done = {"cancelled": [f"id{number}" for number in range(count)], "refused": []}
        answer = ApiResponse(200, Headers(), done)
        monkeypatch.setattr("api.console.bulk_actions.call", lambda *_, **__: answer)
        page = client.post("/console/job-actions/cancel", data={"state": "queued"}).text
        (link,) = re.findall(r'href="/console/jobs\?all=true&amp;id=([^"]+)"', page)
        assert (len(link.split(",")), words in page) == (200, True)

    def test_jobs_submitted_after_the_page_was_shown_are_not_cancelled(self, client, queued):
        fields = self._fields(client.get("/console/job-actions/cancel?state=queued").text)
        later = accepted(client.post("/v4/filer/volumes/later"))
        client.post("/console/job-actions/cancel", data=fields)
        assert client.get(later).json["state"] == "queued"
        assert client.get(f"/v4/jobs/{queued[0]}").json["state"] == "cancelled"

    def test_refused_jobs_are_listed(self, front_end, client, worker, queued):
        worker.fail(f"/{queued[0]}", "worker-lost")
        page = front_end.client(Role.USER).post("/console/job-actions/retry", data={"id": queued[0]}).text
        assert "0 jobs submitted anew" in page
        assert f"/console/jobs/{queued[0]}" in page
        assert "missing-role" in page

    @pytest.mark.parametrize(
        ("roles", "query", "offers"),
        [
            ((Role.USER, Role.ADMIN), "all=true&state=queued", False),
            ((Role.USER, Role.ADMIN), "requested_by=ann&state=queued", False),
            ((Role.USER, Role.ADMIN), "state=queued", True),
            ((Role.USER, Role.UBER_ADMIN), "all=true&state=queued,running,cancelling", True),
            ((Role.USER, Role.UBER_ADMIN), "all=true&state=queued,failed", False),
            ((Role.USER, Role.UBER_ADMIN), "all=true", False),
        ],
    )
    def test_bulk_actions_are_offered_where_they_are_possible(self, front_end, queued, roles, query, offers):
        assert ("/console/job-actions/" in front_end.client(*roles).get(f"/console/jobs?{query}").text) is offers

    def test_without_a_filter_no_job_is_changed(self, client, queued):
        answer = client.post("/console/job-actions/cancel", data={"key": "k"})
        assert answer.status_code == 422
        assert client.get(f"/v4/jobs/{queued[0]}").json["state"] == "queued"


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_cancelled_job_says_whether_it_had_begun(client, worker, has_begun):
    job = accepted(client.post("/v4/filer/volumes/c1", json={}))
    if has_begun:
        worker.claims.complete(worker.take(job), Completion(State.CANCELLED))
    else:
        client.post(f"{job}/cancel")
    page = client.get(f"/console/jobs/{job.rpartition('/')[2]}").text
    assert "It was cancelled" in page
    assert ("before it began: nothing was changed" in page) is not has_begun
