"""What templates write in particular cases: while something is awaited, after a refusal, at the bounds of a list."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING
from unittest.mock import Mock
from urllib.parse import parse_qsl

import pytest
import redis
from flask.testing import FlaskClient

from api.http.problems import Problem
from api.monitoring import service_status
from tests.api.console.routes import PAGES
from tests.api.front_end import FrontEnd, Worker, accepted

if TYPE_CHECKING:
    from redis import Redis

_WITHOUT_SCRIPT = '<noscript><meta http-equiv="refresh"'
_VALUES = {
    "subsystem": "filer", "path:volume": "db01", "path:policy": "default", "name": "gone1", "action": "cancel",
    "job_id": "01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90",
}  # fmt: skip
_CHANGE = "/console/filer/volume-actions/change/db01"


def test_a_page_reloads_itself_only_while_it_waits_for_a_job(client: FlaskClient, worker: Worker) -> None:
    path = accepted(client.post("/v4/filer/volumes/w1", json={}))
    page = f"/console/jobs/{path.rpartition('/')[2]}"
    unfinished = client.get(page).text
    assert (_WITHOUT_SCRIPT in unfinished, "data-refresh data-live" in unfinished) == (True, True)
    worker.fail(path, "worker-lost")
    ended = client.get(page).text
    assert (_WITHOUT_SCRIPT in ended, "data-live" in ended) == (False, False)


@pytest.mark.parametrize("page", ["volumes", "volumes/db01", "capacity", "export", "export/default", "restricted"])
def test_a_page_that_waits_for_its_data_is_replaced_as_a_whole(client: FlaskClient, page: str, no_wait: None) -> None:
    answer = client.get(f"/console/filer/{page}")
    assert answer.status_code == 202
    assert "data-refresh data-live data-until-ready" in answer.text
    assert _WITHOUT_SCRIPT in answer.text


def test_a_page_shown_without_redis_is_replaced_as_a_whole(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_status, "queues", Mock(side_effect=redis.ConnectionError("Connection refused.")))
    page = client.get("/console/").text
    assert "data-refresh data-live data-until-ready" in page
    assert _WITHOUT_SCRIPT in page


def test_a_refused_form_keeps_its_initial_values(client: FlaskClient, filled: str) -> None:
    """Otherwise a field that was not edited would undo what another user has changed meanwhile."""
    untouched = {"comment": "before", "security_style": "ntfs"}
    fields = untouched | {f"was-{name}": value for name, value in untouched.items()}
    refused = client.post(_CHANGE, data=fields | {"was-size_total": "1.00 GiB", "size_total": "much"})
    assert refused.status_code == 422
    for name, value in untouched.items():
        assert f'name="was-{name}" value="{value}"' in refused.text


def test_a_page_that_reloads_itself_reads_from_the_cache(front_end: FrontEnd, client: FlaskClient, filled: str) -> None:
    store, below = front_end.services.redis, "/console/filer"
    job = client.get("/v4/jobs").json[0]["id"]  # type: ignore[index]
    pages = [f"{below}/{page}" for page in ("volumes", "volumes/db01", "export", "export/default")]
    pages += ["/console/", "/console/jobs", f"/console/jobs/{job}"]
    assert all("data-refresh" in client.get(page).text for page in pages)
    jobs = store.get("sapi:seq")
    # Of one volume before that of all: what is missing must not end the page before it asks for the rest.
    listings = sorted(store.keys("sapi:listing:*"), key=len, reverse=True)
    assert len(listings) > 4
    for listing in listings:
        store.delete(listing)
        for page in pages:
            client.get(page, headers={"X-Console-Update": "1"})
        assert store.get("sapi:seq") == jobs, listing


def test_forms_that_need_a_snapshot_say_when_there_is_none(client: FlaskClient, worker: Worker, filled: str) -> None:
    worker.carry_out(accepted(client.post("/v4/filer/volumes/bare1", json={"size_total": 2**30})))
    worker.carry_out(accepted(client.get("/v4/filer/volumes/bare1/snapshots", headers={"Prefer": "respond-async"})))
    for action, words in (("clone", "no snapshot to clone"), ("roll-back", "no snapshot to roll back to")):
        pages = [client.get(f"/console/filer/volume-actions/{action}/{volume}").text for volume in ("bare1", filled)]
        assert [words in page for page in pages] == [True, False], action


def test_a_batch_of_snapshots_says_how_many_volumes_its_filter_chooses(client: FlaskClient, filled: str) -> None:
    page = "/console/filer/snapshot-batch"
    counted = [client.get(page, query_string={"where": where}).text for where in ("", "name=db01", "name=none-such")]
    assert ["match" in text.partition("<form class")[2] for text in counted] == [False, True, True]
    assert "<strong>1 volume</strong> matches now" in counted[1]
    assert "/console/filer/volumes?filter=name%3Ddb01" in counted[1]
    assert "<strong>0 volumes</strong> match now" in counted[2]


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("name=db*&name=!db01", "1"),
        ("name=*&limit=2&sort=-name", "2"),
        ("name=", ""),
        ("name=db*&comment=", ""),
        ("name=db*&fields=name", ""),
        ("name=db*&limit=0", ""),
        ("colour=red", ""),
    ],
)
def test_the_count_of_a_batch_is_that_of_its_whole_filter(
    client: FlaskClient, worker: Worker, filled: str, where: str, count: str
) -> None:
    assert filled == "db01"
    worker.carry_out(accepted(client.post("/v4/filer/volumes/db02", json={"size_total": 2**30})))
    text = client.get("/console/filer/snapshot-batch", query_string={"where": where}).text
    assert re.findall(r"<strong>(\d+) volumes?</strong>", text) == ([count] if count else [])


@pytest.mark.parametrize("page", sorted({rule for method, rule in PAGES if method == "GET" and "<subsystem>" in rule}))
def test_every_page_of_a_storage_system_that_is_not_there_is_404(client: FlaskClient, page: str) -> None:
    url = re.sub(r"<(?:\w+:)?\w+>", "x", page.replace("<subsystem>", "none-such"))
    answer = client.get(url)
    assert (answer.status_code, "No such subsystem" in answer.text) == (404, True)


def test_the_tabs_of_the_job_list_keep_the_filters_that_apply(client: FlaskClient) -> None:
    page = client.get("/console/jobs?all=true&requested_by=bob&state=failed&page_token=MTA").text
    tabs = re.findall(r'<a href="/console/jobs\?([^"]*)"[^>]*>(Yours|Everybody\'s|Batches)</a>', page)
    assert {name: dict(parse_qsl(unescape(query))) for query, name in tabs} == {
        "Yours": {"state": "failed"},
        "Everybody's": {"all": "true", "requested_by": "bob", "state": "failed"},
        "Batches": {"all": "true", "operation": "batch"},
    }


@pytest.mark.parametrize(
    ("page", "words", "is_update"),
    [
        ("", "2 h ago", False),
        ("filer/capacity", "2 h ago", False),
        ("filer/snapshot-batch?where=name%3Ddb01", "1 volume</strong> matches", False),
        ("filer/volumes", "2 h ago", True),
        ("filer/export", "2 h ago", True),
        ("filer/export/default", "no rule", True),
    ],
)
def test_a_stale_listing_is_shown_where_no_storage_system_is_read(
    redis_url: str, redis_client: Redis, filled: str, page: str, words: str, is_update: bool
) -> None:
    read = {name: redis_client.hget(name, "as_of") for name in redis_client.keys("sapi:listing:*")}
    for name, as_of_ms in read.items():
        if as_of_ms:
            redis_client.hset(name, "as_of", int(as_of_ms) - 7_200_000)
    headers = {"X-Console-Update": "1"} if is_update else {}
    answer = FrontEnd(redis_url, max_wait=0).client().get(f"/console/{page}", headers=headers)
    assert answer.status_code == 200
    assert words.lower() in answer.text.lower()


def test_a_page_number_without_a_token_shows_the_first_rows(client: FlaskClient, filled: str) -> None:
    rows = re.search(r"(\d+) to (\d+) of (\d+)", client.get("/console/filer/volumes?page=3").text)
    assert rows
    assert rows.groups() == ("1", rows[3], rows[3])


@pytest.mark.parametrize(("count", "words"), [(0, "nobody may mount"), (8, ""), (9, "and 1 more")])
def test_a_policy_lists_eight_of_its_clients(client: FlaskClient, worker: Worker, count: int, words: str) -> None:
    rules = [f"10.0.0.{number}" for number in range(count)]
    worker.carry_out(accepted(client.get("/v4/filer/export", headers={"Prefer": "respond-async"})))
    worker.carry_out(accepted(client.post("/v4/filer/export/p1", json={"rules": rules})))
    row = client.get("/console/filer/export").text.partition('export/p1">')[2].partition("</tr>")[0]
    assert row.count("<code>") == min(count, 8)
    assert words in row
    assert (" more" in row) is (count > 8)


def test_a_temporarily_unavailable_page_has_a_retry_link(
    client: FlaskClient, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "may work in a moment" not in client.get("/console/nowhere/volumes").text
    job = accepted(client.post("/v4/filer/volumes/w1", json={})).replace("/v4", "/console")
    refused = client.post(f"{job}/retry")
    assert refused.status_code == 409
    assert ("may work in a moment." in refused.text, "try again" in refused.text) == (True, False)
    monkeypatch.setattr("api.reads.lookup.memory_refusal", lambda **_: Problem("queue-unavailable", "Little is left."))
    again = client.get("/console/other/volumes?sort=-name").text
    assert 'may work in a moment: <a href="/console/other/volumes?sort=-name">try again</a>' in again


@pytest.mark.parametrize(
    ("path", "following"),
    [
        ("/console/filer/new-volume", "%2Fconsole%2Ffiler%2Fnew-volume"),
        ("/console/filer/policy-actions/delete/default", "%2Fconsole%2F"),
    ],
)
def test_signing_in_after_a_form_leads_to_a_page(front_end: FrontEnd, path: str, following: str) -> None:
    answer = front_end.stranger().post(path, data={"name": "x"})
    assert answer.status_code == 401
    # In the frame and below the refusal.
    assert re.findall(r'href="/login\?next=([^"]*)"', answer.text) == [following] * 2


def test_a_truncated_form_changes_nothing(front_end: FrontEnd, client: FlaskClient, filled: str) -> None:
    before = front_end.services.redis.get("sapi:seq")
    forms = [rule for method, rule in PAGES if method == "POST"]
    assert len(forms) > 5
    for rule in forms:
        path = re.sub(r"<([^>]+)>", lambda match: _VALUES[match[1]], rule)
        longer = {"CONTENT_LENGTH": "1000", "wsgi.input_terminated": True}
        answer = client.post(path, data={"name": "x", "confirm": "db01"}, environ_overrides=longer)
        assert (answer.status_code, "broke off" in answer.text) == (400, True), path
    assert front_end.services.redis.get("sapi:seq") == before


def test_an_error_when_reinstating_a_volume_is_shown_on_the_page(
    client: FlaskClient, filled: str, no_wait: None
) -> None:
    answer = client.post(f"/console/filer/restricted/{filled}", data={"junction_path": "nowhere"})
    assert answer.status_code == 422
    assert "<code>/junction_path</code> must begin with" in answer.text


def test_a_nearly_full_volume_is_not_drawn_as_full(client: FlaskClient, filled: str) -> None:
    largest = client.get("/console/filer/capacity").text.partition('id="largest-head"')[2]
    assert 'width="100.0" height="8"' in largest
    assert (largest.count('class="bar"') > 5, 'class="bar full"' in largest) == (True, False)


def test_a_policy_is_not_deleted_by_a_form_without_its_name(client: FlaskClient, filled: str) -> None:
    path = "/console/filer/policy-actions/delete/default"
    answers = [client.post(path, data=fields).status_code for fields in ({}, {"confirm": ""}, {"confirm": "default"})]
    assert answers == [422, 422, 303]


def test_a_select_field_has_each_value_once(client: FlaskClient, filled: str) -> None:
    choices = re.findall(r"<select.*?</select>", client.get(_CHANGE).text, re.DOTALL)
    assert len(choices) > 4
    for choice in choices:
        values = re.findall(r'<option value="([^"]*)"', choice)
        assert len(values) == len(set(values)) > 1, choice


def test_no_more_job_ids_are_sent_than_one_request_allows(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.console.bulk_actions._MOST_JOBS", 2)
    for name in ("a", "b", "c"):
        accepted(client.post(f"/v4/filer/volumes/{name}"))
    page = client.get("/console/job-actions/cancel?state=queued").text
    assert "<h1>Cancel 2 jobs</h1>" in page
    assert "at most 2 at a time" in page
