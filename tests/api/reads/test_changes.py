"""A change that succeeded is in every later read, under every name."""

from __future__ import annotations

import pytest

from storage_backends.journal import InMemoryJournal

V = "volumes/acclog_backup01"


@pytest.fixture
def cached_service(service):
    """Everything of one volume has been read."""
    for path in ("volumes", "export", V, f"{V}/snapshots", f"{V}/locks"):
        service.get(path, Cache_Control="no-cache")
    service.run_all()
    return service


def fetched(service, path, **headers):
    """The answer, by a job if it must be."""
    answer = service.get(path, **headers)
    if answer.status_code == 202:
        service.run_all()
        job = answer.headers["Location"].removeprefix("/v4/")
        return service.app.test_client().get(f"/v4/{job}/result", auth=("admin", "secret"))
    return answer


def is_hit(service, path):
    return service.get(path, Cache_Control="only-if-cached").status_code == 200


def names(answer):
    return [record["name"] for record in answer.json]


def test_a_changed_volume_is_in_its_listings(cached_service):
    path = cached_service.get(V).json["junction_path"]
    cached_service.change("PATCH", V, {"percentage_snapshot_reserve": 33})
    for url in (V, f"volumes/node:{path}"):
        assert is_hit(cached_service, url)
        assert cached_service.get(url).json["percentage_snapshot_reserve"] == 33
    assert cached_service.get("volumes?percentage_snapshot_reserve=33").headers["X-Total-Count"] == "1"
    assert fetched(cached_service, V, Cache_Control="no-cache").json == cached_service.get(V).json


def test_a_new_volume_is_found_by_name_and_path(cached_service):
    cached_service.change("POST", "volumes/new", {"size_total": 2**30, "junction_path": "/new/place"})
    assert "new" in names(cached_service.get("volumes", Cache_Control="only-if-cached"))
    assert cached_service.get("volumes/filer:/NEW/place", Cache_Control="only-if-cached").json["name"] == "new"


def test_if_modified_since_hides_no_change(cached_service):
    """Changes that are added to a listing do not change its time."""
    since = cached_service.get("volumes").headers["Last-Modified"]
    assert cached_service.get("volumes", If_Modified_Since=since).status_code == 304
    assert cached_service.get("volumes", If_Modified_Since="Thu, 01 Jan 2026 00:00:00 GMT").status_code == 200
    assert cached_service.get("volumes", If_Modified_Since=since, If_None_Match='"another"').status_code == 200
    cached_service.change("POST", "volumes/new", {"size_total": 2**30})
    assert "new" in names(cached_service.get("volumes", If_Modified_Since=since))


def test_a_restricted_volume_is_not_found(cached_service):
    path = cached_service.get(V).json["junction_path"]
    cached_service.change("DELETE", V)
    assert "acclog_backup01" not in names(cached_service.get("volumes", Cache_Control="only-if-cached"))
    for url in (V, f"volumes/node:{path}", f"{V}/snapshots", f"{V}/locks", f"volumes/node:{path}/snapshots"):
        assert not is_hit(cached_service, url)
        answer = fetched(cached_service, url)
        assert (answer.status_code, answer.json["code"]) == (404, "no-such-volume")


def test_a_path_that_moved_to_another_volume_is_read_again(service):
    path = fetched(service, V).json["junction_path"]
    assert fetched(service, f"volumes/node:{path}").json["name"] == "acclog_backup01"
    assert is_hit(service, f"volumes/node:{path}")
    service.change("DELETE", V)
    service.change("POST", "volumes/heir", {"size_total": 2**30, "junction_path": path})
    assert fetched(service, f"volumes/node:{path}").json["name"] == "heir"


def test_changed_snapshots_are_in_their_listings(cached_service):
    cached_service.change("POST", f"{V}/snapshots/s1", {})
    cached_service.change("POST", f"{V}/snapshots/s2", {})
    assert names(cached_service.get(f"{V}/snapshots", Cache_Control="only-if-cached")) == ["s1", "s2"]
    assert is_hit(cached_service, f"{V}/snapshots/s1")
    cached_service.change("DELETE", f"{V}/snapshots/s1")
    assert names(cached_service.get(f"{V}/snapshots", Cache_Control="only-if-cached")) == ["s2"]
    assert fetched(cached_service, f"{V}/snapshots/s1").json["code"] == "no-such-snapshot"


def test_a_snapshot_that_was_made_again_is_answered_from_the_list(cached_service):
    """What was read of the former one, later than the list, counts no longer."""
    cached_service.change("POST", f"{V}/snapshots/s1", {})
    cached_service.get(f"{V}/snapshots/s1", Cache_Control="no-cache")
    assert cached_service.run_all() == 1
    cached_service.change("DELETE", f"{V}/snapshots/s1")
    assert not is_hit(cached_service, f"{V}/snapshots/s1")
    cached_service.change("POST", f"{V}/snapshots/s1", {})
    assert cached_service.get(f"{V}/snapshots/s1", Cache_Control="only-if-cached").json["name"] == "s1"


def test_purged_snapshots_are_not_listed(cached_service):
    for name in ("s1", "s2"):
        cached_service.change("POST", f"{V}/snapshots/{name}", {})
    assert is_hit(cached_service, f"{V}/snapshots/s1")
    cached_service.change("POST", f"{V}/snapshots/s3", {"purge_old_if_needed": True})
    for url in (f"{V}/snapshots", f"{V}/snapshots/s1"):
        assert not is_hit(cached_service, url)
    assert "s3" in names(fetched(cached_service, f"{V}/snapshots"))


def test_after_a_roll_back_every_listing_is_right(cached_service):
    cached_service.change("POST", f"{V}/snapshots/s1", {})
    cached_service.change("POST", f"{V}/snapshots/s2", {})
    assert is_hit(cached_service, f"{V}/snapshots/s2")
    cached_service.change("POST", V, {"from_snapshot": "s1"})
    for url in (f"{V}/snapshots", f"{V}/snapshots/s2", f"{V}/locks"):
        assert not is_hit(cached_service, url)
    assert is_hit(cached_service, "volumes")
    assert names(fetched(cached_service, f"{V}/snapshots")) == ["s1"]


def test_changed_locks_and_policies_are_in_their_listings(cached_service):
    cached_service.change("PUT", f"{V}/locks/db1.example.org")
    assert cached_service.get(f"{V}/locks", Cache_Control="only-if-cached").json == [{"host": "db1.example.org"}]
    cached_service.change("DELETE", f"{V}/locks/db1.example.org")
    assert cached_service.get(f"{V}/locks", Cache_Control="only-if-cached").json == []
    cached_service.change("POST", "export/new", {"rules": ["a.example.org"]})
    cached_service.change("PUT", "export/new/rule/b.example.org")
    policies = cached_service.get("export", Cache_Control="only-if-cached").json
    rules = ["a.example.org", "b.example.org"]
    assert [policy["rules"] for policy in policies if policy["name"] == "new"] == [rules]
    # One policy has the rights of its rules, which the change itself does not return.
    assert fetched(cached_service, "export/new").json["rules"] == rules
    cached_service.change("DELETE", "export/new")
    assert "new" not in names(cached_service.get("export", Cache_Control="only-if-cached"))
    assert fetched(cached_service, "export/new").json["code"] == "no-such-policy"


def test_one_policy_is_not_served_from_the_listing_of_all(cached_service):
    listed = cached_service.get("export").json[0]
    path = f"export/{listed['name']}"
    assert not is_hit(cached_service, path)
    assert fetched(cached_service, path).json.keys() > listed.keys()


def test_a_volume_with_a_stale_copy_is_served_from_a_fresh_listing(cached_service):
    cached_service.age("dummy/volumes/acclog_backup01", 100)
    assert int(cached_service.get(V).headers["Age"]) < 60
    assert not cached_service.waiting()


def test_an_empty_collection_is_cached_too(cached_service):
    answer = cached_service.get(f"{V}/snapshots", Cache_Control="only-if-cached")
    assert (answer.json, answer.headers["X-Total-Count"]) == ([], "0")


def test_pages_of_a_path_continue_after_its_alias_has_expired(cached_service):
    path = cached_service.get(V).json["junction_path"]
    for name in ("s1", "s2", "s3"):
        cached_service.change("POST", f"{V}/snapshots/{name}", {})
    first = cached_service.get(f"volumes/node:{path}/snapshots?limit=2")
    following = first.headers["Link"].split(">")[0].removeprefix("</v4/dummy/")
    cached_service.age("dummy/volumes", 1000)
    assert names(cached_service.get(following)) == ["s3"]


def test_a_page_token_of_one_volume_is_refused_for_another(cached_service):
    for name in ("s1", "s2"):
        cached_service.change("POST", f"{V}/snapshots/{name}", {})
    following = cached_service.get(f"{V}/snapshots?limit=1").headers["Link"].split(">")[0].removeprefix("</v4/dummy/")
    answer = cached_service.get(following.replace("acclog_backup01", "atlasr_backup01"))
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/page_token")
    assert names(cached_service.get(following)) == ["s2"]


@pytest.mark.parametrize(
    ("address", "method"),
    [(f"{V}/snapshots/snap", "get_snapshot"), ("volumes/node:/backup/dbs01/ACCLOG/snapshots", "list_snapshots")],
)
def test_a_read_that_began_before_a_change_serves_no_request_after_it(service, monkeypatch, address, method):
    service.backend.create_snapshot("acclog_backup01", "snap", journal=InMemoryJournal())
    read, later = getattr(service.backend, method), []

    def read_before(*args, **options):
        value = read(*args, **options)
        monkeypatch.setattr(service.backend, method, read)
        service.change("DELETE", V)
        later.append(service.get(address))
        return value

    monkeypatch.setattr(service.backend, method, read_before)
    service.get(address)
    service.run_all()
    (after,) = later
    assert after.status_code == 202
    service.run_all()
    job = after.headers["Location"].removeprefix("/v4/")
    result = service.app.test_client().get(f"/v4/{job}/result", auth=("admin", "secret"))
    assert (result.status_code, result.json["code"]) == (404, "no-such-volume")
