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
def cached_service(service):
    """A service whose listing of volumes is cached."""
    service.get()
    assert service.run_all() == 1
    return service


def test_no_cache_on_one_object_reads_from_the_filer(cached_service):
    path = "volumes/acclog_backup01"
    assert cached_service.get(path).status_code == 200
    answer = cached_service.get(path, Cache_Control="no-cache")
    assert answer.status_code == 202
    assert answer.json["operation"] == "get_volume"


def test_no_cache_on_a_path_resolves_it_on_the_filer(cached_service):
    path = f"volumes/node:{cached_service.get('volumes/acclog_backup01').json['junction_path']}"
    assert cached_service.get(path).json["name"] == "acclog_backup01"
    # From the first of these on it is known whose it was.
    for below in ("", "", "/snapshots", "/locks"):
        job = cached_service.get(f"{path}{below}", Cache_Control="no-cache").json
        assert job["request"]["volume"] == path.removeprefix("volumes/")
        assert cached_service.run_all() == 1


def test_a_copy_from_before_the_read_is_not_served(cached_service, monkeypatch):
    def end_with_an_older_listing(services, job_id, _seconds):
        cached_service.run(job_id)
        cached_service.age("dummy/volumes", 100)
        return services.jobs.get(job_id)

    monkeypatch.setattr("api.reads.lookup.wait_for_end", end_with_an_older_listing)
    answer = cached_service.get(Cache_Control="no-cache", Prefer="wait=5")
    assert (answer.status_code, int(answer.headers["Age"]) < 100) == (200, True)


@pytest.mark.parametrize(
    ("age", "directive", "status"), [(30, "max-age=20", 202), (30, "max-age=50", 200), (100, "max-stale=1000", 202)]
)
def test_the_age_of_an_object_is_that_of_its_collection(cached_service, age, directive, status):
    cached_service.age("dummy/volumes", age)
    assert cached_service.get("volumes/acclog_backup01", Cache_Control=directive).status_code == status


@pytest.mark.parametrize(
    ("age", "directive", "status"), [(30, "max-age=20", 202), (30, "max-age=50", 200), (100, "max-stale=1000", 202)]
)
def test_the_age_of_a_path_is_that_of_the_collection(cached_service, age, directive, status):
    cached_service.change("POST", "volumes/acclog_backup01/snapshots/s1", {})
    cached_service.get("volumes/acclog_backup01/snapshots")
    assert cached_service.run_all() == 1
    path = cached_service.get("volumes/acclog_backup01").json["junction_path"]
    cached_service.age("dummy/volumes", age)
    assert cached_service.get(f"volumes/node:{path}/snapshots", Cache_Control=directive).status_code == status


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


def test_of_overlapping_listings_the_one_that_began_later_is_served(service):
    first = _begun(service)
    second = _begun(service)
    # Redis counts in milliseconds; these two may have begun in the same one.
    second = type(second)(second.cache_key, first.as_of_ms + 1, second.seq, second.parent_epoch)
    _committed(service, second, ["new"])
    assert _shown(service) == ["new"]
    _committed(service, first, ["old"])
    assert _shown(service) == ["new"]


def test_pages_continue_in_a_front_end_with_an_empty_cache(cached_service):
    cached_service.change("POST", "volumes/aaa", {"size_total": 2**30})
    cached_service.change("DELETE", "volumes/acclog_backup01")
    first = cached_service.get("volumes?limit=4&fields=name")
    whole = [row["name"] for row in cached_service.get("volumes?fields=name").json]
    cached_service.change("DELETE", "volumes/aaa")
    job = cached_service.get(Cache_Control="no-cache").json["id"]
    cached_service.run(job)
    seen = [row["name"] for row in first.json]
    answer, other = first, cached_service.another_front_end()
    while "Link" in answer.headers:
        link = urlsplit(answer.headers["Link"].partition("<")[2].partition(">")[0])
        answer = cached_service.get(f"volumes?{link.query}", app=other)
        assert answer.status_code == 200, answer.text
        seen += [row["name"] for row in answer.json]
    assert len(seen) > 8
    assert seen == whole


def test_a_former_listing_that_is_paged_through_stays_in_memory_beside_the_current_one(cached_service, monkeypatch):
    first = cached_service.get("volumes?limit=1")
    link = urlsplit(first.headers["Link"].partition("<")[2].partition(">")[0])
    cached_service.backend.restrict_volume("acclog_backup01", journal=InMemoryJournal("elsewhere"))
    cached_service.run(cached_service.get(Cache_Control="no-cache").json["id"])
    other, load = cached_service.another_front_end(), create_autospec(Listings.load, side_effect=Listings.load)
    monkeypatch.setattr(Listings, "load", load)
    queries = (link.query, "limit=1", link.query, "limit=2")
    assert [cached_service.get(f"volumes?{query}", app=other).status_code for query in queries] == [200] * 4
    assert load.call_count == len({call.args[1] for call in load.call_args_list}) == 2


def test_a_page_is_as_old_as_its_listing(cached_service):
    cached_service.age("dummy/volumes", 30)
    first = cached_service.get("volumes?limit=4")
    cached_service.run(cached_service.get(Cache_Control="no-cache").json["id"])
    link = urlsplit(first.headers["Link"].partition("<")[2].partition(">")[0])
    assert cached_service.get().headers["Age"] == "0"
    second = cached_service.get(f"volumes?{link.query}")
    assert (second.headers["Age"], second.headers["Last-Modified"]) == ("30", first.headers["Last-Modified"])


@pytest.mark.parametrize(("headers", "status"), [({}, 200), ({"Cache_Control": "no-cache"}, 202)])
def test_a_listing_from_before_the_clock_was_set_back_is_read_again(cached_service, headers, status):
    assert cached_service.get().headers["Cache-Status"] == "storage-api; hit; ttl=60"
    cached_service.age("dummy/volumes", -3600)
    cached_service.backend.restrict_volume("acclog_backup01", journal=InMemoryJournal("elsewhere"))
    answer = cached_service.get(**headers)
    assert answer.status_code == status
    if status == 200:
        # Nobody knows how old it is: it is no longer fresh.
        assert (answer.headers["Cache-Status"], answer.headers["Age"]) == ("storage-api; hit; ttl=-1", "61")
    job_id = answer.headers["Operation-Location"].rpartition("/")[2]
    cached_service.run(job_id)
    assert cached_service.state(job_id) == "succeeded"
    newer = cached_service.get()
    assert newer.headers["Cache-Status"] == "storage-api; hit; ttl=60"
    assert "acclog_backup01" not in {volume["name"] for volume in newer.json}


def test_the_result_of_a_read_is_no_listing_from_before_the_clock_was_set_back(cached_service, monkeypatch):
    cached_service.age("dummy/volumes", -3600)
    cached_service.backend.restrict_volume("acclog_backup01", journal=InMemoryJournal("elsewhere"))

    def end(services, job_id, _seconds):
        cached_service.run(job_id)
        # It is set back once more.
        cached_service.age("dummy/volumes", -3600)
        return services.jobs.get(job_id)

    monkeypatch.setattr("api.reads.lookup.wait_for_end", end)
    answer = cached_service.get(Cache_Control="no-cache", Prefer="wait=5")
    assert (answer.status_code, answer.headers["Age"]) == (200, "0")
    assert "acclog_backup01" not in {volume["name"] for volume in answer.json}


def test_last_modified_is_not_in_the_future(cached_service, monkeypatch):
    monkeypatch.setattr("api.reads.read.time.time", lambda: 86_400.0)
    answer = cached_service.get()
    assert (answer.status_code, answer.headers["Last-Modified"]) == (200, "Fri, 02 Jan 1970 00:00:00 GMT")


@pytest.mark.parametrize("version", ["v4", "v3"])
def test_the_etag_of_one_object_changes_with_that_object_only(cached_service, version):
    client = cached_service.app.test_client()

    def ask(**headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.get(f"/{version}/dummy/volumes/acclog_backup01", headers=sent, auth=("admin", "secret"))

    tag, before = ask().headers["ETag"], cached_service.get().headers["ETag"]
    cached_service.change("PATCH", "volumes/atlasr_backup01", {"comment": "another"})
    assert cached_service.get().headers["ETag"] != before
    assert [ask(If_None_Match=tag).status_code, ask(If_Match=tag).status_code] == [304, 200]
    cached_service.change("PATCH", "volumes/acclog_backup01", {"size_total": 5 * 10**12})
    assert ask(If_None_Match=tag).status_code == 200


@pytest.mark.parametrize("condition", ["If-Match", "If-Unmodified-Since"])
def test_conditional_changes_are_refused(service, condition):
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
def test_an_expired_result_is_served_from_a_later_read_if_allowed(service, path):
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


@pytest.mark.parametrize("is_read_again", [False, True])
def test_one_object_is_no_older_than_a_later_listing(service, is_read_again):
    """Also where the answer about it was in memory already."""
    path = "volumes/acclog_backup01"
    service.get(path)
    service.run_all()
    if is_read_again:
        assert [service.get(path).status_code for _ in range(2)] == [200, 200]
    size = 2 * service.backend.get_volume("acclog_backup01", journal=InMemoryJournal()).size_total
    service.backend.update_volume("acclog_backup01", journal=InMemoryJournal(), size_total=size)
    service.get()
    service.run_all()

    assert service.get("volumes?name=acclog_backup01").json == [service.get(path).json]
    assert service.get(path).json["size_total"] == size
