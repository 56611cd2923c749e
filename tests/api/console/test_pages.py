"""What the console's pages show and do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from unittest.mock import Mock
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import redis
from werkzeug.datastructures import Headers

from api.console import formatting
from api.console.api_client import ApiResponse
from api.http.problems import Problem
from api.monitoring import service_status
from tests.api.front_end import FrontEnd, accepted
from worker.catalog.operations import Role
from worker.execution.claims import Completion
from worker.jobs.query import key_of
from worker.jobs.record import State

_VOLUMES = "/console/filer/volumes"


def _names(text: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="/console/filer/volumes/[^"]*">([^<]+)</a>', text)


def _query_of(text: str, rel: str) -> dict[str, list[str]]:
    match = re.search(rf'rel="{rel}" href="([^"]+)"', text)
    assert match
    return parse_qs(urlsplit(unescape(match[1])).query)


class TestVolumes:
    def test_the_next_page_keeps_columns_filter_and_order(self, client, filled, monkeypatch):
        monkeypatch.setattr("api.console.volume_table.ROWS", ("4",))
        query = "columns=name&columns=uuid&sort=-name&filter=name%3D*0*"
        # What is read again is the first page.
        page = client.get(f"{_VOLUMES}?{query}&refresh=1", headers={"X-Console-Update": "1"}).text
        assert page.count('<th scope="col"') == 2
        link = _query_of(page, "next")
        assert set(link) == {"columns", "sort", "filter", "page", "page_token"}
        assert (link["columns"], link["sort"], link["filter"]) == (["name", "uuid"], ["-name"], ["name=*0*"])
        second = client.get(_VOLUMES, query_string=link).text
        assert _names(page)[-1] > _names(second)[0]
        assert "5 to 8 of" in second

    def test_a_heading_sorts_and_a_second_click_turns_it_round(self, client, filled):
        first = _names(client.get(f"{_VOLUMES}?sort=name").text)
        page = client.get(f"{_VOLUMES}?sort=-name").text
        assert _names(page) == first[::-1]
        assert 'aria-sort="descending"' in page
        # Rows in another order are shown from the first on.
        links = re.findall(r'<th scope="col"[^>]*><a href="\?([^"]*)"', client.get(f"{_VOLUMES}?page=2&rows=50").text)
        assert len(links) > 5
        assert [set(parse_qs(unescape(link))) for link in links] == [{"rows", "sort"}] * len(links)

    def test_several_conditions_are_one_filter(self, client, filled):
        page = client.get(f"{_VOLUMES}?filter=name%3Ddb*%26size_total%3D%3E5").text
        assert _names(page) == ["db01"]

    def test_what_a_link_filters_by_stands_in_the_field(self, client, filled):
        page = client.get(f"{_VOLUMES}?state=online&name=db01").text
        assert 'name="filter" value="state=online&amp;name=db01"' in page
        # As it may be sent again: neither a second condition nor another value.
        assert 'value="comment=50%25%26more"' in client.get(_VOLUMES, query_string={"comment": "50%&more"}).text

    @pytest.mark.parametrize("text", ["nonsense", "no_such_field=1", "size_used=>x", "="])
    def test_a_filter_that_is_none_is_said_at_the_field(self, client, filled, text):
        answer = client.get(_VOLUMES, query_string={"filter": text})
        assert answer.status_code == 422
        hint = re.search(r'id="filter-hint" class="error">([^<]+)<', answer.text)
        assert hint
        assert "aria-invalid" in answer.text

    def test_a_download_has_the_chosen_columns(self, client, filled):
        assert client.get(f"{_VOLUMES}.csv?q=db01&columns=name&columns=state").text.splitlines() == [
            "name,state", "db01,online",
        ]  # fmt: skip

    def test_a_download_without_rows_has_the_head_alone(self, client, filled):
        nothing = f"{_VOLUMES}.csv?q=none-such"
        assert client.get(f"{nothing}&columns=state&columns=name").text.splitlines() == ["state,name"]
        assert set(client.get(nothing).text.strip().split(",")) == set(client.get(f"{_VOLUMES}.json").json[0])
        assert client.get(f"{_VOLUMES}.json?q=db01&columns=name").json == [{"name": "db01"}]

    def test_half_a_table_does_not_look_like_a_whole_one(self, client, filled, monkeypatch):
        from api.console import api_client, volume_table

        monkeypatch.setattr(volume_table, "_DOWNLOAD_ROWS", 4)
        whole = client.get(f"{_VOLUMES}.json").json
        assert len(whole) == 13
        original, pages = api_client.call, []

        def cut(*args: Any, **options: Any) -> Any:
            pages.append(args)
            return original("GET", "/v4/none/volumes") if len(pages) == 3 else original(*args, **options)

        monkeypatch.setattr(volume_table, "call", cut)
        with pytest.raises(Problem, match="downloaded"):
            assert client.get(f"{_VOLUMES}.json").data

    def test_a_page_asks_the_storage_system_unless_it_brings_itself_up_to_date(
        self, front_end, client, filled, no_wait
    ):
        def reads() -> int:
            return len(client.get("/v4/jobs?operation=list_volumes").json)

        before = reads()
        front_end.services.redis.delete(*front_end.services.redis.keys("sapi:listing:*"))
        assert client.get(_VOLUMES, headers={"X-Console-Update": "1"}).status_code == 504
        assert reads() == before
        assert client.get(_VOLUMES).status_code == 202
        assert reads() == before + 1


class TestCapacity:
    def test_it_is_added_up_again_only_when_the_listing_has_changed(self, client, worker, filled, monkeypatch):
        from api.console.capacity import Capacity

        counted: list[int] = []
        original = Capacity.of

        def count(rows: Any) -> Capacity:
            counted.append(len(rows))
            return original(rows)

        monkeypatch.setattr(Capacity, "of", count)
        pages = [client.get("/console/filer/capacity").text for _ in range(3)]
        assert "13 volumes" in unescape(pages[-1]).replace("\N{NARROW NO-BREAK SPACE}", " ")
        assert counted == [13]
        worker.carry_out(accepted(client.post("/v4/filer/volumes/more1", json={"size_total": 2**30})))
        assert "14 volumes" in client.get("/console/filer/capacity").text

    def test_volumes_of_an_unknown_aggregate_are_led_to(self, client, filled, monkeypatch):
        from api.console.capacity import Capacity

        original = Capacity.of
        monkeypatch.setattr(Capacity, "of", lambda rows: original([{**row, "aggregate_name": None} for row in rows]))
        page = client.get("/console/filer/capacity").text
        assert re.findall(r'\?aggregate_name=([^&]*)&amp;sort=-size_used">([^<]*)<', page) == [("null", "–")]


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

    def test_only_those_who_may_are_offered_to_cancel_and_retry(
        self, front_end: FrontEnd, client, worker, redis_client
    ):
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

    def test_what_can_no_longer_be_stopped_is_not_offered_to_be(self, client, worker, redis_client):
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

    def test_it_leads_to_flower_and_to_its_volume(self, redis_url, redis_client):
        front_end = FrontEnd(redis_url, flower_url="https://flower.example.org/f", user_groups=())
        client = front_end.client()
        job = accepted(client.post("/v4/filer/volumes/l1", json={})).rpartition("/")[2]
        page = client.get(f"/console/jobs/{job}").text
        assert f'href="https://flower.example.org/f/task/{job}"' in page
        assert 'href="/console/filer/volumes/l1"' in page
        # Flower lets nobody in who has not signed in.
        pages = [each.get("/console/").text for each in (client, front_end.stranger())]
        assert ['href="https://flower.example.org/f"' in page for page in pages] == [True, False]

    def test_a_filter_that_is_none_is_said_at_the_field(self, client):
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
def test_what_is_asked_for_anew_or_decided_upon_is_read_again(redis_url, redis_client, filled, listing, page, other):
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

    def test_those_that_wait_are_cancelled_and_done_again(self, client, queued):
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

    def test_everybodys_are_meant_where_the_page_says_so(self, client, queued, redis_client):
        ann, bob = key_of("basic ann"), key_of("bob")
        for key in redis_client.keys(f"sapi:index*requester:{ann}*"):
            redis_client.rename(key, key.replace(ann.encode(), bob.encode()))
        for job_id in queued:
            redis_client.hset(f"sapi:job:{job_id}", mapping={"requester": "bob", "requester_key": bob})
        fields = self._fields(client.get("/console/job-actions/cancel?all=true&state=queued").text)
        assert "3 jobs cancelled" in client.post("/console/job-actions/cancel", data=fields).text

    def test_all_are_meant_whichever_part_of_the_list_is_shown(self, client, queued):
        first = client.get("/console/jobs?state=queued&limit=1").text
        second = client.get("/console/jobs", query_string=_query_of(first, "next")).text
        forms = [re.findall(r'href="(/console/job-actions/[^"]+)"', each) for each in (first, second)]
        assert ["Cancel 3 jobs" in client.get(unescape(form)).text for (form,) in forms] == [True, True]

    @pytest.mark.parametrize(("count", "words"), [(200, "Show them"), (201, "Show the first 200")])
    def test_so_many_are_shown_as_a_list_may_name(self, client, monkeypatch, count, words):
        done = {"cancelled": [f"id{number}" for number in range(count)], "refused": []}
        answer = ApiResponse(200, Headers(), done)
        monkeypatch.setattr("api.console.bulk_actions.call", lambda *_, **__: answer)
        page = client.post("/console/job-actions/cancel", data={"state": "queued"}).text
        (link,) = re.findall(r'href="/console/jobs\?all=true&amp;id=([^"]+)"', page)
        assert (len(link.split(",")), words in page) == (200, True)

    def test_what_came_after_the_page_is_not_meant(self, client, queued):
        fields = self._fields(client.get("/console/job-actions/cancel?state=queued").text)
        later = accepted(client.post("/v4/filer/volumes/later"))
        client.post("/console/job-actions/cancel", data=fields)
        assert client.get(later).json["state"] == "queued"
        assert client.get(f"/v4/jobs/{queued[0]}").json["state"] == "cancelled"

    def test_what_was_refused_is_named(self, front_end, client, worker, queued):
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
    def test_it_is_offered_where_it_can_be_done(self, front_end, queued, roles, query, offers):
        assert ("/console/job-actions/" in front_end.client(*roles).get(f"/console/jobs?{query}").text) is offers

    def test_without_a_filter_nothing_is_done(self, client, queued):
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


def test_a_volume_says_how_much_its_snapshots_hold(client, filled):
    snapshots = client.get("/v4/filer/volumes/db01/snapshots").json
    sizes = {formatting.size(snapshot["size_kbytes"] * 1024) for snapshot in snapshots}
    assert sizes
    page = client.get("/console/filer/volumes/db01").text
    assert set(re.findall(r'<td class="number right minor">([^<]+)</td>', page.partition('id="locks"')[0])) == sizes


def test_changes_alone_can_be_listed(client, worker, filled):
    everything = client.get("/console/jobs").text
    assert "List locks" in everything.partition("<tbody>")[2]
    (link,) = set(re.findall(r'href="(/console/jobs[^"]+)"', everything.partition("</header>")[0]))
    changes = client.get(link.replace("&amp;", "&")).text
    assert re.search(r"<option [^>]*selected>changes only", changes)
    table = changes.partition("<tbody>")[2]
    assert "Create lock" in table
    assert "List " not in table


class TestRollBack:
    _FORM = "/console/filer/volume-actions/roll-back/db01"

    def test_one_chooses_a_snapshot_first(self, client, filled):
        page = client.get(self._FORM).text
        assert f'href="{self._FORM}?from_snapshot=first"' in page
        assert '<form class="form' not in page

    def test_a_snapshot_that_was_not_named_stops_it(self, client, worker, filled):
        fields: dict[str, Any] = {"from_snapshot": "first", "later": "second", "confirm": "db01"}
        worker.carry_out(accepted(client.post("/v4/filer/volumes/db01/snapshots/third", json={})))
        refused = client.post(self._FORM, data=fields)
        assert refused.status_code == 422
        assert "other later snapshots" in refused.text
        assert "third" in refused.text
        assert client.post(self._FORM, data=fields | {"later": "second third"}).status_code == 303

    def test_while_snapshots_are_not_known_nothing_is_said_of_them(self, client, front_end, filled, no_wait):
        front_end.services.redis.delete(*front_end.services.redis.keys("sapi:listing:*snapshots*"))
        answer = client.get(f"{self._FORM}?from_snapshot=first")
        assert answer.status_code == 202
        assert "No later snapshot" not in answer.text


def test_a_form_changes_only_what_was_changed_in_it(client, filled):
    fields = {
        "size_total": "2GiB",
        "was-size_total": "1.00 GiB",
        "caching_policy": "auto",
        "was-caching_policy": "auto",
    }
    job = client.post("/console/filer/volume-actions/change/db01", data=fields).headers["Location"].rpartition("/")[2]
    assert client.get(f"/v4/jobs/{job}").json["request"] == {"volume": "db01", "size_total": 2**31}


def test_rules_are_added_and_removed_and_a_policy_deleted(client, worker, filled):
    made = client.post("/console/filer/new-policy", data={"name": "dbs", "rules": "10.0.0.0/24 @dbas"})
    worker.carry_out(made.headers["Location"])
    worker.carry_out(client.post("/console/filer/policy-actions/add-rule/dbs", data={"rule": "h1"}).headers["Location"])
    worker.carry_out(
        client.post("/console/filer/policy-actions/remove-rule/dbs", data={"rule": "10.0.0.0/24"}).headers["Location"]
    )
    worker.carry_out(accepted(client.get("/v4/filer/export/dbs", headers={"Prefer": "respond-async"})))
    page = client.get("/console/filer/export/dbs").text
    assert re.findall(r'name="rule" value="([^"]+)"', page) == ["@dbas", "h1"]
    assert client.post("/console/filer/policy-actions/add-rule/dbs", data={"rule": "no good"}).status_code == 422
    assert client.post("/console/filer/policy-actions/delete/dbs", data={"confirm": "db"}).status_code == 422
    assert client.post("/console/filer/policy-actions/delete/dbs", data={"confirm": "dbs"}).status_code == 303


def test_locks_and_snapshots_are_removed_by_forms(client, filled):
    unlock = client.post("/console/filer/volume-actions/unlock/db01", data={"host": "host1.example.org"})
    delete = client.post("/console/filer/volume-actions/delete-snapshot/db01", data={"name": "first"})
    jobs = [client.get(answer.headers["Location"].replace("/console", "/v4")).json for answer in (unlock, delete)]
    assert [(job["operation"], job["target"]) for job in jobs] == [
        ("remove_lock", "/v4/filer/volumes/db01/locks/host1.example.org"),
        ("delete_snapshot", "/v4/filer/volumes/db01/snapshots/first"),
    ]


def test_the_latest_changes_are_not_buried_by_reads(client, filled):
    page = client.get("/console/").text
    assert "Create lock" in page.partition('id="jobs"')[2]
    assert "List volumes" not in page.partition('id="jobs"')[2].partition("</section>")[0]


def test_the_overview_leads_to_what_failed_within_a_day(client, filled):
    page = unescape(client.get("/console/").text)
    (since,) = set(re.findall(r"/console/jobs\?[^\"]*finished_after=([^\"&]+)", page))
    age = datetime.now(UTC) - datetime.fromisoformat(unquote(since))
    assert timedelta(hours=23) < age < timedelta(hours=25)


def test_a_batch_stands_for_its_members_among_the_latest_changes(client, filled):
    members = [{"method": "POST", "path": f"/v4/filer/volumes/member{number}"} for number in range(10)]
    batch = accepted(client.post("/v4/batches", json={"name": "nightly", "requests": members})).rpartition("/")[2]
    page = client.get("/console/").text
    assert f"/console/jobs/{batch}" in page
    assert "member1" not in page
    assert "db01" in page


def test_what_is_said_of_a_page_is_not_said_of_its_data(client, filled):
    for header in (
        {"If-None-Match": "*"},
        {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
        {"If-Match": '"x"'},
        {"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"Cache-Control": "no-cache"},
        {"Pragma": "no-cache"},
        {"Accept-Encoding": "gzip"},
        {"Range": "bytes=0-1"},
    ):
        page = client.get("/console/filer/volumes", headers=header)
        assert (page.status_code, "db01" in page.text) == (200, True), header
    for rule in ("10.0.0.1", "10.0.0.2"):
        sent = {"data": {"rule": rule}, "headers": {"Idempotency-Key": "of the page"}}
        assert client.post("/console/filer/policy-actions/add-rule/default", **sent).status_code == 303


def test_what_a_form_names_stays_in_its_place_in_the_address(client, filled):
    jobs = len(client.get("/v4/jobs").json)
    for action in ("snapshot", "delete-snapshot", "clone", "lock", "unlock"):
        for name in ("", "x/../y", "a/locks/b"):
            fields = {"name": name, "new_name": name, "host": name}
            answer = client.post(f"/console/filer/volume-actions/{action}/db01", data=fields)
            assert answer.status_code == 422, (action, name)
    assert len(client.get("/v4/jobs").json) == jobs


def test_a_row_says_of_a_job_what_its_page_does_not(client, filled):
    def targets(path: str) -> list[str]:
        return re.findall(r'<td class="break minor">([^<]*)</td>', client.get(path).text)

    assert {"filer/volumes/db01", "filer/volumes/db01/snapshots/first"} <= set(targets("/console/jobs"))
    assert set(targets("/console/filer/volumes/db01")) == {
        "", "snapshots/first", "snapshots/second", "locks/host1.example.org",
    }  # fmt: skip
    # Among everybody's jobs, a name leads to the jobs of that user.
    tables = [client.get(path).text.partition("<tbody>")[2] for path in ("/console/jobs", "/console/jobs?all=true")]
    assert ["requested_by=ann" in table for table in tables] == [False, True]


def test_without_redis_the_overview_says_so_and_looks_again(client, monkeypatch):
    monkeypatch.setattr(service_status, "queues", Mock(side_effect=redis.ConnectionError("Connection refused.")))
    answer = client.get("/console/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert "Redis is unavailable" in answer.text
    # What the page's script waits for.
    assert "data-until-ready" in answer.text


def test_a_worker_that_drains_is_named(front_end, client):
    now_ms = int(front_end.services.redis.time()[0]) * 1000
    front_end.services.redis.zadd("sapi:draining", {"worker9@host": now_ms})
    page = client.get("/console/").text
    attention = page.partition('id="attention"')[2].partition("</section>")[0]
    assert "worker9@host" in attention
    assert "is draining" in attention
    assert "worker9" not in front_end.stranger().get("/console/").text


@pytest.mark.parametrize("form", ["new-volume", "new-policy"])
@pytest.mark.parametrize("name", ["", "db1/snapshots/s1", "p1/rule/h1"])
def test_a_name_that_would_be_another_address_is_refused(client, form, name):
    answer = client.post(f"/console/filer/{form}", data={"name": name})
    assert answer.status_code == 422
    assert ("must be a name" if name else "must be given") in answer.text
    assert client.get("/v4/jobs?all=true").get_json() == []


class TestFormsOfVolumes:
    """What forms send, where a mistake would be felt on the filer."""

    @staticmethod
    def _job(client: Any, answer: Any) -> dict[str, Any]:
        assert answer.status_code == 303, answer.text
        job: dict[str, Any] = client.get(answer.headers["Location"].replace("/console", "/v4")).json
        return job

    @pytest.mark.parametrize("typed", ["", "db02"])
    @pytest.mark.parametrize("action", ["restrict", "roll-back"])
    def test_what_takes_something_away_is_confirmed(self, client, filled, action, typed):
        fields = {"from_snapshot": "first", "later": "second", "confirm": typed}
        answer = client.post(f"/console/filer/volume-actions/{action}/db01", data=fields)
        assert answer.status_code == 422
        assert "Type the volume" in answer.text
        assert client.get("/v4/jobs?operation=restrict_volume,roll_back_volume").json == []

    @pytest.mark.parametrize(
        ("path", "fields"),
        [
            ("volume-actions/snapshot/db01", {"name": "s1"}),
            ("new-volume", {"name": "new1"}),
            ("snapshot-batch", {"name": "all", "where": "name=db*"}),
        ],
    )
    def test_a_form_that_is_sent_twice_makes_one_job(self, client, filled, path, fields):
        page = client.get(f"/console/filer/{path}").text
        (key,) = re.findall(r'name="key" value="([^"]+)"', page)
        made = {client.post(f"/console/filer/{path}", data=fields | {"key": key}).headers["Location"] for _ in range(2)}
        assert len(made) == 1
        assert (
            len(set(re.findall(r'name="key" value="([^"]+)"', client.get(f"/console/filer/{path}").text)) - {key}) == 1
        )

    @pytest.mark.parametrize(
        ("path", "name"), [("volume-actions/snapshot/db01", "name"), ("new-volume", "name"), ("new-policy", "name")]
    )
    def test_a_form_that_was_changed_before_it_is_sent_again_is_another_request(self, client, filled, path, name):
        first, other = (
            client.post(f"/console/filer/{path}", data={name: value, "key": "k1"}) for value in ("one", "two")
        )
        assert (first.status_code, other.status_code) == (303, 422)
        assert "with other values" in other.text
        (key,) = re.findall(r'name="key" value="([^"]+)"', other.text)
        assert client.post(f"/console/filer/{path}", data={name: "two", "key": key}).status_code == 303

    def test_a_batch_whose_volumes_are_not_known_yet_is_not_made(self, redis_url, redis_client):
        client = FrontEnd(redis_url, read_wait=0).client()
        fields = {"name": "all", "where": "name=db*", "key": "k1"}
        answer = client.post("/console/filer/snapshot-batch", data=fields)
        assert answer.status_code == 504
        assert "send the request again" in answer.text
        assert 'name="key" value="k1"' in answer.text

    @pytest.mark.parametrize(
        ("path", "fields"),
        [
            ("volume-actions/snapshot/db01", {"name": "-"}),
            ("new-volume", {"name": "-"}),
            ("new-policy", {"name": "-"}),
            ("snapshot-batch", {"name": "all", "where": "colour=red"}),
        ],
    )
    def test_a_form_that_was_refused_is_still_the_same_request(self, client, filled, path, fields):
        """It may have been accepted all the same, where Redis went away meanwhile."""
        page = client.post(f"/console/filer/{path}", data=fields | {"key": "k1"})
        assert page.status_code == 422
        assert 'name="key" value="k1"' in page.text

    @pytest.mark.parametrize(
        ("action", "fields", "request_"),
        [
            (
                "clone",
                {"new_name": "db03", "from_snapshot": "first", "size_total": "1KiB"},
                {"volume": "db03", "from_volume": "db01", "from_snapshot": "first", "size_total": 1024},
            ),
            (
                "snapshot",
                {"name": "s1", "purge_old_if_needed": "yes"},
                {"volume": "db01", "name": "s1", "purge_old_if_needed": True},
            ),
            (
                "roll-back",
                {"from_snapshot": "first", "later": "second", "confirm": "db01"},
                {"volume": "db01", "from_snapshot": "first"},
            ),
            ("restrict", {"confirm": "db01"}, {"volume": "db01"}),
        ],
    )
    def test_it_asks_for_what_was_filled_in(self, client, filled, action, fields, request_):
        answer = client.post(f"/console/filer/volume-actions/{action}/db01", data=fields)
        assert self._job(client, answer)["request"] == request_

    def test_a_volume_comes_back_where_it_is_wanted(self, client, worker, filled):
        worker.carry_out(accepted(client.delete("/v4/filer/volumes/db01")))
        answer = client.post("/console/filer/restricted/db01", data={"junction_path": "/again"})
        assert self._job(client, answer)["request"] == {"volume": "db01", "junction_path": "/again"}

    def test_it_takes_the_role_of_the_action(self, front_end, filled):
        for action, role in (("restrict", Role.ADMIN), ("change", Role.ADMIN), ("snapshot", Role.UBER_ADMIN)):
            client, path = front_end.client(Role.USER, role), f"/console/filer/volume-actions/{action}/db01"
            assert (client.get(path).status_code, client.post(path, data={}).status_code) == (403, 403), action

    def test_a_text_that_begins_like_a_formula_is_none_in_a_table(self, client, worker, filled):
        for text in ("=1+1", "+1", "-1", "@x"):
            worker.carry_out(accepted(client.patch("/v4/filer/volumes/db01", json={"comment": text})))
            lines = client.get(f"{_VOLUMES}.csv?q=db01&columns=comment").text.splitlines()
            assert lines == ["comment", f"'{text}"]
