"""Which version of a listing answers: fresh looks at one object, listings that overlap, pages over a former version."""

from __future__ import annotations

from unittest.mock import create_autospec
from urllib.parse import urlsplit

import pytest

from storage_backends.journal import InMemoryJournal
from worker.catalog.resource_types import VOLUMES
from worker.listings.listing import Listing
from worker.listings.repository import Listings


@pytest.fixture
def warm(service):
    """A service whose listing of volumes is cached."""
    service.get()
    assert service.run_all() == 1
    return service


def test_no_cache_on_one_object_asks_the_filer(warm):
    path = "volumes/acclog_backup01"
    assert warm.get(path).status_code == 200
    answer = warm.get(path, Cache_Control="no-cache")
    assert answer.status_code == 202
    assert answer.json["operation"] == "get_volume"


def test_no_cache_on_a_path_asks_the_filer_whose_it_is(warm):
    path = f"volumes/node:{warm.get('volumes/acclog_backup01').json['junction_path']}"
    assert warm.get(path).json["name"] == "acclog_backup01"
    # From the first of these on it is known whose it was.
    for below in ("", "", "/snapshots", "/locks"):
        job = warm.get(f"{path}{below}", Cache_Control="no-cache").json
        assert job["request"]["volume"] == path.removeprefix("volumes/")
        assert warm.run_all() == 1


def test_what_is_cached_from_before_the_read_does_not_answer_it(warm, monkeypatch):
    def end_with_an_older_listing(services, job_id, _seconds):
        warm.run(job_id)
        warm.age("dummy/volumes", 100)
        return services.jobs.get(job_id)

    monkeypatch.setattr("api.reads.lookup.wait_for_end", end_with_an_older_listing)
    answer = warm.get(Cache_Control="no-cache", Prefer="wait=5")
    assert (answer.status_code, int(answer.headers["Age"]) < 100) == (200, True)


@pytest.mark.parametrize(
    ("age", "directive", "status"), [(30, "max-age=20", 202), (30, "max-age=50", 200), (100, "max-stale=1000", 202)]
)
def test_the_age_of_the_collection_counts_for_its_objects(warm, age, directive, status):
    warm.age("dummy/volumes", age)
    assert warm.get("volumes/acclog_backup01", Cache_Control=directive).status_code == status


@pytest.mark.parametrize(
    ("age", "directive", "status"), [(30, "max-age=20", 202), (30, "max-age=50", 200), (100, "max-stale=1000", 202)]
)
def test_the_age_of_the_collection_counts_for_whose_path_it_is(warm, age, directive, status):
    warm.change("POST", "volumes/acclog_backup01/snapshots/s1", {})
    warm.get("volumes/acclog_backup01/snapshots")
    assert warm.run_all() == 1
    path = warm.get("volumes/acclog_backup01").json["junction_path"]
    warm.age("dummy/volumes", age)
    assert warm.get(f"volumes/node:{path}/snapshots", Cache_Control=directive).status_code == status


def _committed(service, started, names):
    """Let a read of the volumes end that found these names."""
    listings = service.services.listings
    records = [{"name": name, "size_total": 1} for name in names]
    step = listings.store(started, Listing.of("name", records, ordered=True))
    service.services.scripts.compact_listing(step)


def _begun(service):
    listings: Listings = service.services.listings
    return listings.begin(VOLUMES, "dummy/volumes", "", 60_000)


def _shown(service):
    return [row["name"] for row in service.get("volumes?fields=name").json]


def test_of_two_listings_that_overlap_the_one_that_began_later_is_shown(service):
    first = _begun(service)
    second = _begun(service)
    # Redis counts in milliseconds; these two may have begun in the same one.
    second = type(second)(second.cache_key, first.as_of_ms + 1, second.seq, second.parent_epoch)
    _committed(service, second, ["new"])
    assert _shown(service) == ["new"]
    _committed(service, first, ["old"])
    assert _shown(service) == ["new"]


def test_pages_go_on_in_a_front_end_that_has_nothing_in_memory(warm):
    warm.change("POST", "volumes/aaa", {"size_total": 2**30})
    warm.change("DELETE", "volumes/acclog_backup01")
    first = warm.get("volumes?limit=4&fields=name")
    whole = [row["name"] for row in warm.get("volumes?fields=name").json]
    warm.change("DELETE", "volumes/aaa")
    job = warm.get(Cache_Control="no-cache").json["id"]
    warm.run(job)
    seen = [row["name"] for row in first.json]
    answer, other = first, warm.another_front_end()
    while "Link" in answer.headers:
        link = urlsplit(answer.headers["Link"].partition("<")[2].partition(">")[0])
        answer = warm.get(f"volumes?{link.query}", app=other)
        assert answer.status_code == 200, answer.text
        seen += [row["name"] for row in answer.json]
    assert len(seen) > 8
    assert seen == whole


def test_a_former_listing_that_is_paged_through_stays_in_memory_beside_the_current_one(warm, monkeypatch):
    first = warm.get("volumes?limit=1")
    link = urlsplit(first.headers["Link"].partition("<")[2].partition(">")[0])
    warm.backend.restrict_volume("acclog_backup01", journal=InMemoryJournal("elsewhere"))
    warm.run(warm.get(Cache_Control="no-cache").json["id"])
    other, load = warm.another_front_end(), create_autospec(Listings.load, side_effect=Listings.load)
    monkeypatch.setattr(Listings, "load", load)
    queries = (link.query, "limit=1", link.query, "limit=2")
    assert [warm.get(f"volumes?{query}", app=other).status_code for query in queries] == [200] * 4
    assert load.call_count == len({call.args[1] for call in load.call_args_list}) == 2


def test_a_page_is_as_old_as_its_listing(warm):
    warm.age("dummy/volumes", 30)
    first = warm.get("volumes?limit=4")
    warm.run(warm.get(Cache_Control="no-cache").json["id"])
    link = urlsplit(first.headers["Link"].partition("<")[2].partition(">")[0])
    assert warm.get().headers["Age"] == "0"
    second = warm.get(f"volumes?{link.query}")
    assert (second.headers["Age"], second.headers["Last-Modified"]) == ("30", first.headers["Last-Modified"])


@pytest.mark.parametrize(("headers", "status"), [({}, 200), ({"Cache_Control": "no-cache"}, 202)])
def test_a_listing_from_before_the_clock_was_set_back_is_read_anew(warm, headers, status):
    assert warm.get().headers["Cache-Status"] == "storage-api; hit; ttl=60"
    warm.age("dummy/volumes", -3600)
    warm.backend.restrict_volume("acclog_backup01", journal=InMemoryJournal("elsewhere"))
    answer = warm.get(**headers)
    assert answer.status_code == status
    if status == 200:
        # Nobody knows how old it is: it is no longer fresh.
        assert (answer.headers["Cache-Status"], answer.headers["Age"]) == ("storage-api; hit; ttl=-1", "61")
    job_id = answer.headers["Operation-Location"].rpartition("/")[2]
    warm.run(job_id)
    assert warm.state(job_id) == "succeeded"
    newer = warm.get()
    assert newer.headers["Cache-Status"] == "storage-api; hit; ttl=60"
    assert "acclog_backup01" not in {volume["name"] for volume in newer.json}


def test_the_result_of_a_read_is_no_listing_from_before_the_clock_was_set_back(warm, monkeypatch):
    warm.age("dummy/volumes", -3600)
    warm.backend.restrict_volume("acclog_backup01", journal=InMemoryJournal("elsewhere"))

    def end(services, job_id, _seconds):
        warm.run(job_id)
        # It is set back once more.
        warm.age("dummy/volumes", -3600)
        return services.jobs.get(job_id)

    monkeypatch.setattr("api.reads.lookup.wait_for_end", end)
    answer = warm.get(Cache_Control="no-cache", Prefer="wait=5")
    assert (answer.status_code, answer.headers["Age"]) == (200, "0")
    assert "acclog_backup01" not in {volume["name"] for volume in answer.json}


def test_nothing_was_modified_later_than_now(warm, monkeypatch):
    monkeypatch.setattr("api.reads.read.time.time", lambda: 86_400.0)
    answer = warm.get()
    assert (answer.status_code, answer.headers["Last-Modified"]) == (200, "Fri, 02 Jan 1970 00:00:00 GMT")


@pytest.mark.parametrize("version", ["v4", "v3"])
def test_the_tag_of_one_object_changes_with_that_alone(warm, version):
    client = warm.app.test_client()

    def ask(**headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.get(f"/{version}/dummy/volumes/acclog_backup01", headers=sent, auth=("admin", "secret"))

    tag, before = ask().headers["ETag"], warm.get().headers["ETag"]
    warm.change("PATCH", "volumes/atlasr_backup01", {"comment": "another"})
    assert warm.get().headers["ETag"] != before
    assert [ask(If_None_Match=tag).status_code, ask(If_Match=tag).status_code] == [304, 200]
    warm.change("PATCH", "volumes/acclog_backup01", {"size_total": 5 * 10**12})
    assert ask(If_None_Match=tag).status_code == 200


@pytest.mark.parametrize("condition", ["If-Match", "If-Unmodified-Since"])
def test_a_change_takes_no_condition(service, condition):
    value = '"tag"' if condition == "If-Match" else "Thu, 01 Jan 1970 00:00:00 GMT"
    answer = service.ask("DELETE", "volumes/acclog_backup01", **{condition: value})
    assert (answer.status_code, answer.json["code"]) == (412, "precondition-failed")
    assert "Nothing was accepted" in answer.json["detail"]
    assert not service.waiting()


@pytest.mark.parametrize("path", ["", "/acclog_backup01", "/acclog_backup01/snapshots", "/acclog_backup01/locks"])
def test_the_result_of_a_read_outlives_its_listing(make_service, path):
    """In the order of the storage system, as long as it is kept for itself."""
    service = make_service(volumes=3)
    for name in ("zz", "aa"):
        service.change("POST", f"volumes/acclog_backup01/snapshots/{name}")
    job = service.get(f"volumes{path}", Cache_Control="no-cache").json["id"]
    service.run(job)

    def result():
        client = service.another_front_end().test_client()
        return client.get(f"/v4/jobs/{job}/result", auth=("admin", "secret"))

    first = result()
    service.redis.delete(*service.redis.keys("sapi:base:*"))
    again = result()
    assert (first.status_code, again.status_code, again.json) == (200, 200, first.json)
    service.redis.delete(f"sapi:result:{job}")
    gone = result()
    assert (gone.status_code, gone.json["code"], gone.headers["Operation-Location"]) == (
        410,
        "result-expired",
        f"/v4/jobs/{job}",
    )


@pytest.mark.parametrize("path", ["", "/acclog_backup01"])
def test_a_result_that_is_gone_is_what_was_read_later_if_that_may_be_served(service, path):
    def read_again(comment):
        service.change("PATCH", "volumes/acclog_backup01", {"comment": comment})
        for key in service.redis.keys("sapi:base:*"):
            service.redis.delete(key)
        job = service.get(f"volumes{path}", Cache_Control="no-cache").json["id"]
        service.run(job)
        service.redis.delete(f"sapi:result:{job}")
        return job

    def result():
        return service.another_front_end().test_client().get(f"/v4/jobs/{job}/result", auth=("admin", "secret"))

    job = read_again("first")
    read_again("second")
    assert '"second"' in result().text
    for listing in service.redis.keys("sapi:listing:*"):
        service.redis.hset(listing, "invalid", service.redis.hget(listing, "seq"))
    assert (result().status_code, result().json["code"]) == (410, "result-expired")


@pytest.mark.parametrize("is_asked_again", [False, True])
def test_one_object_is_no_older_than_the_listing_that_was_read_since(service, is_asked_again):
    """Also where the answer about it was in memory already."""
    path = "volumes/acclog_backup01"
    service.get(path)
    service.run_all()
    if is_asked_again:
        assert [service.get(path).status_code for _ in range(2)] == [200, 200]
    size = 2 * service.backend.get_volume("acclog_backup01", journal=InMemoryJournal()).size_total
    service.backend.update_volume("acclog_backup01", journal=InMemoryJournal(), size_total=size)
    service.get()
    service.run_all()

    assert service.get("volumes?name=acclog_backup01").json == [service.get(path).json]
    assert service.get(path).json["size_total"] == size
