"""Filters, order, fields and pages, as clients write them."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from werkzeug.http import parse_options_header

from api.http.problems import Problem
from api.reads import collection_response
from api.reads.page_token import make_token, parse_token
from worker.jobs.record import ListingVersion
from worker.listings.repository import ListingState


@pytest.fixture
def listed(make_service):
    service = make_service(volumes=60)
    service.get()
    service.run_all()
    return service


def names(answer):
    assert answer.status_code == 200, answer.text
    return [record["name"] for record in answer.json]


def next_path(answer):
    link = answer.headers["Link"]
    url, options = parse_options_header(link)
    assert options["rel"] == "next"
    path = url.strip("<>")
    assert path.startswith("/v4/dummy/")
    return path.removeprefix("/v4/dummy/")


def pages(service, path):
    page_names = []
    answer = service.get(path)
    while True:
        page_names.append(names(answer))
        if "Link" not in answer.headers:
            return page_names
        answer = service.get(next_path(answer))


def test_the_whole_listing_is_a_bare_array_in_order_of_names(listed):
    answer = listed.get()
    assert names(answer) == sorted(names(answer))
    assert answer.headers["X-Total-Count"] == "60"


def test_filters_are_combined_by_and(listed):
    every = listed.get().json
    answer = listed.get("volumes?name=a*|c*&size_used=>1000GB&size_used=<4000GB&state=!offline")
    expected = [
        record["name"]
        for record in every
        if record["name"][0] in "ac" and 1000 * 2**30 < record["size_used"] < 4000 * 2**30
    ]
    assert names(answer) == expected
    assert expected
    assert answer.headers["X-Total-Count"] == str(len(expected))


def test_one_field_may_have_two_filters(listed):
    twice, once = listed.get("volumes?name=a*&name=*data*"), listed.get("volumes?name=a*")
    expected = [name for name in names(once) if "data" in name]
    assert 0 < len(expected) < len(names(once))
    assert names(twice) == expected
    assert once.headers["ETag"] != twice.headers["ETag"]


def test_without_a_match_the_list_is_empty(listed):
    answer = listed.get("volumes?name=nothing")
    assert (answer.json, answer.headers["X-Total-Count"]) == ([], "0")
    assert "Link" not in answer.headers


def test_sort_and_fields(listed):
    answer = listed.get("volumes?sort=-autosize_enabled,size_used&fields=name,size_used,autosize_enabled")
    assert list(answer.json[0]) == ["name", "size_used", "autosize_enabled"]
    keys = [(not record["autosize_enabled"], record["size_used"]) for record in answer.json]
    assert keys == sorted(keys)


def test_null_sorts_last_either_way(make_service, tmp_path):
    records = [{"name": "a", "size_used": 2}, {"name": "b"}, {"name": "c", "size_used": 1}]
    (tmp_path / "records.json").write_text(json.dumps(records))
    service = make_service(volumes=tmp_path / "records.json")
    service.get()
    service.run_all()
    assert names(service.get("volumes?sort=size_used")) == ["c", "a", "b"]
    assert names(service.get("volumes?sort=-size_used")) == ["a", "c", "b"]
    assert names(service.get("volumes?size_used=null")) == ["b"]
    assert names(service.get("volumes?size_used=!null")) == ["a", "c"]
    assert names(service.get("volumes?size_used=<2")) == ["c"]


@pytest.mark.parametrize("query", ["", "&sort=-size_used", "&name=*a*&fields=name", "&sort=state,name"])
def test_pages_together_are_the_whole(listed, query):
    whole = names(listed.get(f"volumes?{query.removeprefix('&')}"))
    all_pages = pages(listed, f"volumes?limit=7{query}")
    assert [name for page in all_pages for name in page] == whole
    assert {len(page) for page in all_pages[:-1]} == {7}
    assert listed.get(f"volumes?limit=7{query}").headers["X-Total-Count"] == str(len(whole))


def test_pages_continue_over_their_own_version(listed):
    whole = names(listed.get())
    answer = listed.get("volumes?limit=20&sort=name")
    seen = names(answer)
    while "Link" in answer.headers:
        name = random.Random(len(seen)).choice(names(listed.get()))
        listed.change("DELETE", f"volumes/{name}")
        listed.change("POST", f"volumes/aaa{len(seen)}", {"size_total": 2**30})
        listed.run(listed.get(Cache_Control="no-cache").json["id"])
        answer = listed.get(next_path(answer))
        # Nor does an empty page follow the last one.
        assert len(names(answer)) == 20
        seen += names(answer)
        assert answer.headers["X-Total-Count"] == "60"
    assert seen == whole


def test_a_page_of_an_expired_version_is_refused(make_service):
    service = make_service(volumes=20, old_listing_ttl=1)
    service.get()
    service.run_all()
    link = next_path(service.get("volumes?limit=5"))
    service.change("DELETE", "volumes/acclog_backup01")
    service.run(service.get(Cache_Control="no-cache").json["id"])
    for key in service.redis.scan_iter("sapi:base:*"):
        service.redis.delete(key)
    other = service.another_front_end()
    gone = service.get(link, app=other)
    assert (gone.status_code, gone.json["code"]) == (410, "page-token-expired")


def test_the_page_size_is_limited_by_default(listed, monkeypatch):
    monkeypatch.setattr(collection_response, "MOST_LIMIT", 5)
    answer = listed.get(next_path(listed.get("volumes?limit=7")).replace("limit=7&", ""))
    assert names(answer) == names(listed.get())[7:12]


@pytest.mark.parametrize("query", ["", "&name=*"])
def test_a_page_without_limit_has_the_maximum_size(listed, monkeypatch, query):
    """As the last part of a listing that a client began to page through."""
    whole = names(listed.get())
    token = dict(parse_qsl(urlsplit(next_path(listed.get(f"volumes?limit=7{query}"))).query))["page_token"]
    assert names(listed.get(f"volumes?page_token={token}{query}")) == whole[7:]
    monkeypatch.setattr("api.reads.collection_response.MOST_LIMIT", 5)
    assert pages(listed, f"volumes?page_token={token}{query}")[:2] == [whole[7:12], whole[12:17]]


def test_invalid_page_tokens_are_refused(listed):
    path = next_path(listed.get("volumes?limit=7&sort=name"))
    query = dict(parse_qsl(urlsplit(path).query))
    token = query["page_token"]
    raw = base64.urlsafe_b64decode(token + "==").decode()
    assert ',7,"' in raw
    forged = [
        base64.urlsafe_b64encode(raw.replace(old, new).encode()).decode().rstrip("=")
        for old, new in (('"dummy/volumes"', '"other/volumes"'), (',7,"', ',8,"'))
    ]
    damaged = [
        token[:-2],
        token[:20] + ("A" if token[20] != "A" else "B") + token[21:],
        "x",
        "",
        "é",
        token + "!",
        *forged,
    ]
    for bad in damaged:
        answer = listed.app.test_client().get(
            "/v4/dummy/volumes", query_string={**query, "page_token": bad}, auth=("admin", "secret")
        )
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/page_token"), bad
    for other in (f"volumes?limit=7&page_token={token}", f"export?limit=7&sort=name&page_token={token}"):
        assert listed.get(other).status_code == 422
    assert listed.get(f"volumes?limit=3&sort=name&page_token={token}").status_code == 200


@pytest.mark.parametrize(
    ("base_seq", "seq", "start"), [(5, 4, 0), (-1, 0, 0), (0, 2**53, 0), (0, 0, -1), (0, 0, 1.5), (0, 0, True)]
)
def test_a_token_with_invalid_numbers_is_refused(base_seq, seq, start):
    version = ListingVersion("dummy/volumes", "base", base_seq, seq)
    token = make_token(ListingState("dummy/volumes", 0, version, 0), "name=a", start)
    with pytest.raises(Problem, match="damaged"):
        parse_token(token, "name=a")


def test_a_token_is_safe_in_urls():
    version = ListingVersion("dummy/volumes/???>>>~~~ÿÿÿ/snapshots", "base", 1, 2, "3")
    token = make_token(ListingState(version.cache_key, 0, version, 4), "name=a", 5)
    assert {"-", "_"} <= set(token)
    page = parse_token(token, "name=a")
    assert (page.listing_version, page.as_of_ms, page.start) == (version, 4, 5)


@pytest.mark.parametrize("name", ["cache_key", "base", "changed"])
def test_a_token_with_wrong_types_is_refused(name):
    wrong: Any = {name: 5}
    version = replace(ListingVersion("dummy/volumes", "base", 0, 0), **wrong)
    token = make_token(ListingState("dummy/volumes", 0, version, 0), "name=a", 0)
    with pytest.raises(Problem, match="damaged"):
        parse_token(token, "name=a")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("size_used=>x", "/size_used"),
        ("size_used=1..", "/size_used"),
        ("autosize_enabled=maybe", "/autosize_enabled"),
        ("autosize_enabled=>true", "/autosize_enabled"),
        ("name=", "/name"),
        ("name=a||b", "/name"),
        ('name="a', "/name"),
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("limit=0000000011001", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=1.5", "/limit"),
        ("limit=" + "1" * 5000, "/limit"),
        ("sort=nothing", "/sort"),
        ("sort=name&sort=state", "/sort"),
        ("fields=name,,state", "/fields"),
        ("fields=", "/fields"),
        ("colour=red", "/colour"),
    ],
)
def test_invalid_expressions_are_reported_with_their_parameter(listed, query, pointer):
    answer = listed.get(f"volumes?{query}")
    assert (answer.status_code, answer.json["code"]) == (422, "validation-failed")
    assert answer.json["errors"][0]["pointer"] == pointer


def test_single_objects_take_no_query(listed):
    assert listed.get("volumes/acclog_backup01?fields=name").status_code == 422


def test_policies_are_filtered_by_their_rules(listed):
    listed.get("export")
    listed.run_all()
    assert names(listed.get("export?rules=acclog*")) == [
        "acclog_backup",
        "acclog_data",
        "acclog_logs",
        "acclog_redo",
        "acclog_scratch",
    ]
    refused = listed.get("export?sort=rules")
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, "/sort")


def test_the_etag_depends_on_the_query(listed):
    second = next_path(listed.get("volumes?limit=3")).partition("?")[2]
    queries = (
        "", "limit=3", second, "limit=4", "sort=name", "sort=-name", "fields=name", "fields=uuid", "name=a*", "name=c*",
    )  # fmt: skip
    assert len({listed.get(f"volumes?{query}").headers["ETag"] for query in queries}) == len(queries)
    tag = listed.get("volumes?limit=3").headers["ETag"]
    assert listed.get("volumes?limit=3", If_None_Match=tag).status_code == 304


def test_the_result_of_a_listing_job_takes_the_query_of_its_request(make_service):
    service = make_service(volumes=20)
    job = service.get("volumes?limit=5&sort=-name").json["id"]
    service.run(job)
    client = service.app.test_client()
    result = client.get(f"/v4/jobs/{job}/result", auth=("admin", "secret"))
    assert names(result) == names(service.get("volumes?limit=5&sort=-name"))
    assert (result.headers["X-Total-Count"], result.headers["Cache-Control"]) == ("20", "private, no-cache")


def test_two_front_ends_return_the_same_responses(listed):
    other = listed.another_front_end()
    listed.change("DELETE", "volumes/acclog_backup01")
    for query in ("", "?limit=4&sort=-size_used", "?name=a*"):
        one, two = listed.get(f"volumes{query}"), listed.get(f"volumes{query}", app=other)
        assert one.json == two.json
        assert one.headers["ETag"] == two.headers["ETag"]
    assert "acclog_backup01" not in names(listed.get(app=other))
