"""Sections 1 and 3 of the contract: every operation on a storage system, read back at once from cached listings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.client import Client, problem

DUMMY = "/v4/dummy"
VOLUMES = f"{DUMMY}/volumes"
VOLUME_FIELDS = {
    "name", "uuid", "state", "filer_address", "aggregate_name", "junction_path", "size_total", "size_used",
    "autosize_enabled", "max_autosize", "active_policy_name", "percentage_snapshot_reserve",
    "percentage_snapshot_reserve_used", "compression_enabled", "inline_compression", "caching_policy", "creation_time",
    "snapshot_policy", "security_style", "unix_permissions", "space_guarantee", "qos_policy", "tiering_policy",
    "comment", "type",
}  # fmt: skip


def _names(http: Client, path: str) -> list[str]:
    answer = http.get(path)
    assert answer.status_code == 200, answer.text
    return [record["name"] for record in answer.json()]


def _is_hit(http: Client, path: str) -> bool:
    return "storage-api; hit" in http.get(path).headers["Cache-Status"]


class TestVolumes:
    def test_settings_are_read_back(self, http: Client, name: str) -> None:
        settings: dict[str, Any] = {
            "size_total": 10 * 2**30, "junction_path": f"/{name}", "autosize_enabled": True, "max_autosize": 20 * 2**30,
            "percentage_snapshot_reserve": 10, "compression_enabled": True, "inline_compression": True,
            "caching_policy": "auto", "active_policy_name": "default", "snapshot_policy": "none",
            "security_style": "mixed", "unix_permissions": "0750", "space_guarantee": "volume", "qos_policy": "gold",
            "tiering_policy": "snapshot-only", "comment": 'Run 3: conditions, "raw" é',
        }  # fmt: skip
        created = http.change("POST", f"{VOLUMES}/{name}", settings)
        assert created.status_code == 201
        assert set(created.json()) == VOLUME_FIELDS
        assert {field: created.json()[field] for field in settings} == settings
        assert http.get(f"{VOLUMES}/{name}").json() == created.json()

    def test_a_change_is_in_the_cached_listing_at_once(self, http: Client, volume: str) -> None:
        http.get(VOLUMES)
        assert http.change("PATCH", f"{VOLUMES}/{volume}", {"size_total": 2**31}).json()["size_total"] == 2**31
        listed = http.get(VOLUMES, params={"name": volume})
        assert "hit" in listed.headers["Cache-Status"]
        assert [record["size_total"] for record in listed.json()] == [2**31]
        http.change("DELETE", f"{VOLUMES}/{volume}")
        listed = http.get(VOLUMES, params={"name": volume})
        assert ("hit" in listed.headers["Cache-Status"], listed.json(), listed.headers["X-Total-Count"]) == (
            True,
            [],
            "0",
        )

    def test_a_restricted_volume_comes_back_at_once(self, http: Client, volume: str) -> None:
        http.change("POST", f"{VOLUMES}/{volume}/snapshots/s1", {})
        _names(http, VOLUMES)
        _names(http, f"{DUMMY}/restricted")
        assert http.change("DELETE", f"{VOLUMES}/{volume}").status_code == 204
        assert volume in _names(http, f"{DUMMY}/restricted")
        back = http.change("POST", f"{DUMMY}/restricted/{volume}/reinstate", {"junction_path": f"/back/{volume}"})
        assert (back.status_code, back.json()["state"], back.json()["junction_path"]) == (
            200,
            "online",
            f"/back/{volume}",
        )
        assert "Location" not in back.headers
        assert volume not in _names(http, f"{DUMMY}/restricted")
        assert volume in _names(http, VOLUMES)
        assert _names(http, f"{VOLUMES}/:/back/{volume}/snapshots") == ["s1"]
        problem(http.change("POST", f"{DUMMY}/restricted/{volume}/reinstate", {}), 404, "no-such-volume")

    def test_a_restricted_volume_is_not_found(self, http: Client, volume: str) -> None:
        http.change("POST", f"{VOLUMES}/{volume}/snapshots/s1", {})
        http.get(f"{VOLUMES}/{volume}/snapshots")
        http.get(f"{VOLUMES}/{volume}/snapshots/s1")
        assert http.change("DELETE", f"{VOLUMES}/{volume}").status_code == 204
        for path in ("", "/snapshots", "/snapshots/s1", "/locks"):
            problem(http.get(f"{VOLUMES}/{volume}{path}"), 404, "no-such-volume")
        problem(http.get(f"{VOLUMES}/x:/{volume}"), 404, "no-such-volume")
        problem(http.change("DELETE", f"{VOLUMES}/{volume}"), 404, "no-such-volume")
        problem(http.change("PATCH", f"{VOLUMES}/{volume}", {"size_total": 2**31}), 404, "no-such-volume")

    def test_a_volume_is_addressed_by_path(self, http: Client, name: str) -> None:
        created = http.change("POST", f"{VOLUMES}/node:/some/{name}", {"name": name, "size_total": 2**30})
        assert (created.status_code, created.headers["Location"]) == (201, f"{VOLUMES}/{name}")
        assert created.json()["junction_path"] == f"/some/{name}"
        assert http.get(f"{VOLUMES}/:/some/{name}").json()["name"] == name
        assert http.change("POST", f"{VOLUMES}/n:/some/{name}/snapshots/s1", {}).status_code == 201
        assert _names(http, f"{VOLUMES}/{name}/snapshots") == ["s1"]
        assert _names(http, f"{VOLUMES}/n:/some/{name}/snapshots") == ["s1"]

    def test_invalid_settings_fail_the_job_and_change_nothing(self, http: Client, volume: str) -> None:
        before = http.get(f"{VOLUMES}/{volume}").json()
        answer = http.change(
            "PATCH", f"{VOLUMES}/{volume}", {"active_policy_name": "no_such_policy", "size_total": 2**33}
        )
        assert answer.status_code in (404, 422)
        assert http.get(f"{VOLUMES}/{volume}", headers={"Cache-Control": "no-cache"}).json() == before

    def test_a_clone_is_independent(self, http: Client, volume: str, name: str) -> None:
        http.change("POST", f"{VOLUMES}/{volume}/snapshots/base", {})
        clone = f"{volume}_clone"
        made = http.change("POST", f"{VOLUMES}/{clone}", {"from_volume": volume, "from_snapshot": "base"})
        assert (made.status_code, made.headers["Location"]) == (201, f"{VOLUMES}/{clone}")
        http.change("PATCH", f"{VOLUMES}/{clone}", {"size_total": 2**32})
        assert http.get(f"{VOLUMES}/{volume}").json()["size_total"] == 2**30
        assert http.get(f"{VOLUMES}/{clone}").json()["uuid"] != http.get(f"{VOLUMES}/{volume}").json()["uuid"]
        missing = http.change("POST", f"{VOLUMES}/{clone}2", {"from_volume": volume, "from_snapshot": "none"})
        problem(missing, 404, "no-such-snapshot")

    def test_a_roll_back_brings_the_old_state_and_drops_later_snapshots(self, http: Client, volume: str) -> None:
        http.change("POST", f"{VOLUMES}/{volume}/snapshots/early", {})
        http.change("PATCH", f"{VOLUMES}/{volume}", {"size_total": 2**31})
        http.change("POST", f"{VOLUMES}/{volume}/snapshots/late", {})
        assert _names(http, f"{VOLUMES}/{volume}/snapshots") == ["early", "late"]
        assert http.get(f"{VOLUMES}/{volume}/snapshots/late").status_code == 200
        rolled = http.change("POST", f"{VOLUMES}/{volume}", {"from_snapshot": "early"})
        assert (rolled.status_code, rolled.json()["size_total"]) == (201, 2**30)
        assert _names(http, f"{VOLUMES}/{volume}/snapshots") == ["early"]
        problem(http.get(f"{VOLUMES}/{volume}/snapshots/late"), 404, "no-such-snapshot")
        assert http.get(f"{VOLUMES}/{volume}").json()["size_total"] == 2**30


class TestSnapshots:
    def test_life_of_a_snapshot(self, http: Client, volume: str) -> None:
        path = f"{VOLUMES}/{volume}/snapshots"
        assert http.get(path).json() == []
        made = http.change("POST", f"{path}/nightly.2026-11-22_2200", {})
        assert (made.status_code, made.headers["Location"]) == (201, f"{path}/nightly.2026-11-22_2200")
        assert set(made.json()) == {"name", "creation_time", "size_kbytes"}
        assert http.get(f"{path}/nightly.2026-11-22_2200").json() == made.json()
        assert _is_hit(http, path)
        problem(http.change("POST", f"{path}/nightly.2026-11-22_2200", {}), 409, "already-exists")
        assert http.change("DELETE", f"{path}/nightly.2026-11-22_2200").status_code == 204
        assert http.get(path).json() == []
        problem(http.get(f"{path}/nightly.2026-11-22_2200"), 404, "no-such-snapshot")
        problem(http.change("DELETE", f"{path}/nightly.2026-11-22_2200"), 404, "no-such-snapshot")

    def test_the_oldest_snapshot_is_purged_on_request_only(self, http: Client, volume: str) -> None:
        path = f"{VOLUMES}/{volume}/snapshots"
        for number in range(5):
            assert http.change("POST", f"{path}/s{number}", {"purge_old_if_needed": True}).status_code == 201
        assert _names(http, path) == ["s0", "s1", "s2", "s3", "s4"]
        problem(http.change("POST", f"{path}/s5", {}), 409, "too-many-snapshots")
        assert http.change("POST", f"{path}/s5", {"purge_old_if_needed": True}).status_code == 201
        assert _names(http, path) == ["s1", "s2", "s3", "s4", "s5"]
        problem(http.get(f"{path}/s0"), 404, "no-such-snapshot")


class TestLocks:
    def test_only_one_host_can_hold_the_lock(self, http: Client, volume: str) -> None:
        path = f"{VOLUMES}/{volume}/locks"
        assert http.get(path).json() == []
        taken = http.change("PUT", f"{path}/db1.example.org")
        assert (taken.status_code, taken.json(), taken.headers.get("Location")) == (
            201,
            {"host": "db1.example.org"},
            None,
        )
        assert http.change("PUT", f"{path}/db1.example.org").status_code == 201
        problem(http.change("PUT", f"{path}/db2.example.org"), 409, "lock-held")
        assert http.get(path).json() == [{"host": "db1.example.org"}]
        assert http.change("DELETE", f"{path}/db2.example.org").status_code == 204
        assert http.get(path).json() == [{"host": "db1.example.org"}]
        assert http.change("DELETE", f"{path}/db1.example.org").status_code == 204
        assert http.get(path).json() == []
        assert http.change("PUT", f"{path}/2001:db8::1").status_code == 201


class TestPolicies:
    def test_life_of_a_policy(self, http: Client, name: str) -> None:
        path = f"{DUMMY}/export/{name}"
        rules = ["db1.example.org", "10.0.0.0/8", "db1.example.org", "@hosts", "*.example.org", "2001:db8::/32"]
        made = http.change("POST", path, {"rules": rules})
        unique = list(dict.fromkeys(rules))
        assert (made.status_code, made.json(), made.headers["Location"]) == (201, {"name": name, "rules": unique}, path)
        assert name in _names(http, f"{DUMMY}/export")
        added = http.change("PUT", f"{path}/rule/192.0.2.0/24")
        assert (added.status_code, added.json()) == (201, {"name": name, "rules": [*unique, "192.0.2.0/24"]})
        assert http.change("PUT", f"{path}/rule/192.0.2.0/24").json()["rules"] == [*unique, "192.0.2.0/24"]
        for _ in range(2):
            assert http.change("DELETE", f"{path}/rule/10.0.0.0/8").status_code == 204
        remaining = [rule for rule in [*unique, "192.0.2.0/24"] if rule != "10.0.0.0/8"]
        policy = http.get(path).json()
        assert (policy["name"], policy["rules"]) == (name, remaining)
        assert [(rule["clients"], rule["rw"]) for rule in policy["details"]] == [
            ([rule], ["sys"]) for rule in remaining
        ]
        assert [p["rules"] for p in http.get(f"{DUMMY}/export").json() if p["name"] == name] == [remaining]
        assert http.change("DELETE", path).status_code == 204
        problem(http.get(path), 404, "no-such-policy")
        assert name not in _names(http, f"{DUMMY}/export")

    def test_a_policy_in_use_cannot_be_deleted(self, http: Client, volume: str, name: str) -> None:
        http.change("POST", f"{DUMMY}/export/{name}", {"rules": []})
        http.change("PATCH", f"{VOLUMES}/{volume}", {"active_policy_name": name})
        problem(http.change("DELETE", f"{DUMMY}/export/{name}"), 409, "policy-in-use")
        http.change("DELETE", f"{VOLUMES}/{volume}")
        assert http.change("DELETE", f"{DUMMY}/export/{name}").status_code == 204

    @pytest.mark.parametrize("rule", ["a b", "a;b", "x" * 256, "10.0.0.0/99", "%0a"])
    def test_an_invalid_client_match_is_refused(self, http: Client, name: str, rule: str) -> None:
        http.change("POST", f"{DUMMY}/export/{name}", {"rules": []})
        problem(http.put(f"{DUMMY}/export/{name}/rule/{rule}"), 422, "validation-failed")


class TestListings:
    def test_headers_of_a_hit(self, http: Client) -> None:
        http.get(VOLUMES)
        answer = http.get(VOLUMES)
        assert answer.headers["Cache-Status"].startswith("storage-api; hit; ttl=")
        assert answer.headers["Cache-Control"].startswith("private, max-age=")
        assert "stale-while-revalidate=" in answer.headers["Cache-Control"]
        assert int(answer.headers["Age"]) >= 0
        assert answer.headers["Last-Modified"].endswith("GMT")
        assert answer.headers["X-Total-Count"] == str(len(answer.json()))
        for _ in range(5):
            again = http.get(VOLUMES, headers={"If-None-Match": answer.headers["ETag"]})
            if again.headers["ETag"] == answer.headers["ETag"]:
                break
            answer = again  # It was read again meanwhile, after changes of other tests.
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", answer.headers["ETag"])

    def test_pages_are_of_one_version_despite_changes(self, http: Client, name: str) -> None:
        whole = _names(http, f"{VOLUMES}?sort=name")
        page = http.get(VOLUMES, params={"sort": "name", "limit": "50", "fields": "name"})
        seen = [record["name"] for record in page.json()]
        http.change("POST", f"{VOLUMES}/a{name}", {})
        while "next" in page.links:
            page = http.get(page.links["next"]["url"])
            assert page.status_code == 200, page.text
            seen += [record["name"] for record in page.json()]
        assert seen == whole
        assert f"a{name}" in _names(http, VOLUMES)

    @pytest.mark.parametrize(
        "query",
        ["limit=0", "limit=x", "page_token=x", "sort=colour", "fields=", "size_used=many", "size_used=", "state=a||b",
         "autosize_enabled=maybe", "size_used=5..", "limit=1&limit=2"],
    )  # fmt: skip
    def test_invalid_expressions_are_refused(self, http: Client, query: str) -> None:
        document = problem(http.get(f"{VOLUMES}?{query}"), 422, "validation-failed")
        assert document["errors"][0]["pointer"] == "/" + query.split("=", maxsplit=1)[0]

    def test_only_if_cached(self, http: Client, volume: str) -> None:
        answer = http.get(f"{VOLUMES}/{volume}/locks", headers={"Cache-Control": "only-if-cached"})
        problem(answer, 504, "not-cached")

    def test_no_cache_reads_from_the_storage_system(self, http: Client) -> None:
        answer = http.get(VOLUMES, headers={"Cache-Control": "no-cache"})
        assert (answer.status_code, answer.headers["Age"]) == (200, "0")
        assert "fwd=" in answer.headers["Cache-Status"]
