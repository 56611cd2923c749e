"""What pages of the console say, and where they lead."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from unittest.mock import Mock
from urllib.parse import unquote

import pytest
import redis

from api.console import formatting
from api.monitoring import service_status
from tests.api.front_end import accepted


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


def test_the_latest_changes_are_listed_without_reads(client, filled):
    page = client.get("/console/").text
    assert "Create lock" in page.partition('id="jobs"')[2]
    assert "List volumes" not in page.partition('id="jobs"')[2].partition("</section>")[0]


def test_the_overview_links_to_jobs_that_failed_within_a_day(client, filled):
    page = unescape(client.get("/console/").text)
    (since,) = set(re.findall(r"/console/jobs\?[^\"]*finished_after=([^\"&]+)", page))
    age = datetime.now(UTC) - datetime.fromisoformat(unquote(since))
    assert timedelta(hours=23) < age < timedelta(hours=25)


def test_the_latest_changes_list_a_batch_instead_of_its_members(client, filled):
    members = [{"method": "POST", "path": f"/v4/filer/volumes/member{number}"} for number in range(10)]
    batch = accepted(client.post("/v4/batches", json={"name": "nightly", "requests": members})).rpartition("/")[2]
    page = client.get("/console/").text
    assert f"/console/jobs/{batch}" in page
    assert "member1" not in page
    assert "db01" in page


def test_conditions_of_a_page_request_do_not_apply_to_its_data(client, filled):
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


def test_names_in_volume_forms_cannot_change_the_path(client, filled):
    jobs = len(client.get("/v4/jobs").json)
    for action in ("snapshot", "delete-snapshot", "clone", "lock", "unlock"):
        for name in ("", "x/../y", "a/locks/b"):
            fields = {"name": name, "new_name": name, "host": name}
            answer = client.post(f"/console/filer/volume-actions/{action}/db01", data=fields)
            assert answer.status_code == 422, (action, name)
    assert len(client.get("/v4/jobs").json) == jobs


def test_a_row_of_the_job_list_omits_the_object_of_the_page(client, filled):
    def targets(path: str) -> list[str]:
        return re.findall(r'<td class="break minor">([^<]*)</td>', client.get(path).text)

    assert {"filer/volumes/db01", "filer/volumes/db01/snapshots/first"} <= set(targets("/console/jobs"))
    assert set(targets("/console/filer/volumes/db01")) == {
        "", "snapshots/first", "snapshots/second", "locks/host1.example.org",
    }  # fmt: skip
    # Among everybody's jobs, a name leads to the jobs of that user.
    tables = [client.get(path).text.partition("<tbody>")[2] for path in ("/console/jobs", "/console/jobs?all=true")]
    assert ["requested_by=ann" in table for table in tables] == [False, True]


def test_without_redis_the_overview_says_so_and_reloads(client, monkeypatch):
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
def test_a_name_with_path_segments_is_refused(client, form, name):
    answer = client.post(f"/console/filer/{form}", data={"name": name})
    assert answer.status_code == 422
    assert ("must be a name" if name else "must be given") in answer.text
    assert client.get("/v4/jobs?all=true").get_json() == []
