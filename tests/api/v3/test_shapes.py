"""Responses to v3 clients: status, body and fixed texts of each route."""

from __future__ import annotations

import re
import time

import pytest

from api.v3.dates import rfc822
from api.v3.fields import VOLUME_KEYS, project
from tests.api.v3.created_volumes import make
from worker.catalog.resource_types import VOLUME

GB = 10**9


def test_a_volume_has_its_17_keys_in_their_order(ask):
    made = make(ask, autosize_increment=5, filer_address="ignored")
    assert list(made.json) == list(VOLUME_KEYS)
    assert len(VOLUME_KEYS) == 17
    assert made.data.endswith(b"}\n")
    assert "" not in made.json.values()
    assert re.fullmatch(r"\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} -0000", made.json["creation_time"])
    listed = ask("GET", "/dummy/volumes")
    assert len(listed.json) == 4
    assert all(list(record) == list(VOLUME_KEYS) for record in listed.json)
    assert ask("GET", "/dummy/volumes/v1").json == made.json
    assert made.json in listed.json
    assert int(listed.headers["Age"]) >= 0


def test_a_listing_that_is_as_it_was_is_not_sent_again(ask):
    listed = ask("GET", "/dummy/volumes")
    since = {"If_Modified_Since": listed.headers["Last-Modified"]}
    assert ask("GET", "/dummy/volumes", **since).status_code == 304
    assert ask("GET", "/dummy/volumes", If_None_Match='"other"', **since).status_code == 200
    make(ask)
    assert ask("GET", "/dummy/volumes", **since).status_code == 200
    assert ask("GET", "/dummy/volumes", If_Match='"other"').status_code == 412


@pytest.fixture
def _in_japan(monkeypatch):
    """This process's local time is another than UTC."""
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    rfc822.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_in_japan")
@pytest.mark.parametrize(
    ("at", "old"),
    [
        ("2026-01-02T03:04:05Z", "Fri, 02 Jan 2026 03:04:05 -0000"),
        ("2026-01-02T03:04:05.900Z", "Fri, 02 Jan 2026 03:04:05 -0000"),
        ("2026-01-02T03:04:05", "Fri, 02 Jan 2026 03:04:05 -0000"),
        ("2026-01-02T04:04:05+01:00", "Fri, 02 Jan 2026 03:04:05 -0000"),
        ("soon", None),
    ],
)
def test_times_are_in_utc_in_the_old_form(at, old):
    assert rfc822(at) == old


def test_empty_texts_are_null():
    volume = project(VOLUME, {"name": "v1", "aggregate_name": "", "creation_time": "", "size_used": 0})
    assert (volume["name"], volume["size_used"]) == ("v1", 0)
    assert (volume["aggregate_name"], volume["creation_time"], volume["state"]) == (None, None, None)


def test_omitted_fields_have_the_defaults_of_the_predecessor(ask):
    made = make(ask).json
    assert made["percentage_snapshot_reserve"] == 0
    assert (made["autosize_enabled"], made["compression_enabled"], made["inline_compression"]) == (True, True, True)
    assert made["max_autosize"] == GB * 6 // 5
    assert make(ask, "v2", autosize_enabled=False).json["max_autosize"] is None


@pytest.mark.parametrize("path", ["/dummy/volumes/filer:/a/b", "/dummy/volumes/filer%3A%2Fa%2Fb"])
def test_a_path_is_a_volume_however_it_is_encoded(ask, path):
    assert "name" in ask("POST", path, {"size_total": GB}).json["errors"]
    made = ask("POST", path, {"size_total": GB, "name": "by_path", "junction_path": "/ignored"})
    assert (made.status_code, made.json["name"], made.json["junction_path"]) == (201, "by_path", "/a/b")
    assert ask("GET", path).json["name"] == "by_path"
    assert ask("PUT", f"{path}/locks/h1").status_code == 201
    assert ask("GET", "/dummy/volumes/by_path/locks").json == [{"host": "h1"}]


def test_existing_objects_are_refused_on_creation(ask):
    make(ask, name="v1")
    again = ask.message(400, "POST", "/dummy/volumes/v1", {"size_total": GB})
    assert again.startswith("Volume v1 already exists!")
    assert ask("POST", "/dummy/volumes/v1/snapshots/s", {}).data == b'""\n'
    again = ask.message(400, "POST", "/dummy/volumes/v1/snapshots/s", {})
    assert again.startswith("Snapshot s already exists!")
    snapshot = ask("GET", "/dummy/volumes/v1/snapshots/s").json
    assert (list(snapshot), snapshot["name"]) == (["name", "size_kbytes", "creation_time"], "s")
    assert ask("GET", "/dummy/volumes/v1/snapshots").json == [snapshot]
    assert ask("GET", "/dummy/volumes/v1/snapshots", X_Fields="name").json == [{"name": "s"}]
    assert ask("POST", "/dummy/volumes/v1", {"from_snapshot": "s"}).status_code == 201
    cloned = ask("POST", "/dummy/volumes/c", {"from_snapshot": "s", "from_volume": "v1", "junction_path": "/c"})
    assert (cloned.status_code, cloned.json["name"]) == (201, "c")
    again = ask.message(400, "POST", "/dummy/volumes/c", {"from_snapshot": "s", "from_volume": "v1"})
    assert "Name already in use!" in again
    assert "No such volume: x" in ask.message(
        404, "POST", "/dummy/volumes/d", {"from_snapshot": "s", "from_volume": "x"}
    )
    assert "No such snapshot: t" in ask.message(
        404, "POST", "/dummy/volumes/d", {"from_snapshot": "t", "from_volume": "v1"}
    )
    assert "No such snapshot: t" in ask.message(404, "POST", "/dummy/volumes/v1", {"from_snapshot": "t"})
    assert "from_snapshot" in ask.message(400, "POST", "/dummy/volumes/d", {"from_volume": "v1"})
    assert ask("POST", "/dummy/volumes/d", {"from_snapshot": ""}).status_code == 400
    assert ask("DELETE", "/dummy/volumes/v1/snapshots/s").status_code == 204
    assert "No such snapshot: s" in ask.message(404, "DELETE", "/dummy/volumes/v1/snapshots/s")
    assert ask("DELETE", "/dummy/volumes/v1").data == b""
    for method in ("GET", "DELETE"):
        assert "No such volume: v1" in ask.message(404, method, "/dummy/volumes/v1")


def test_jobs_of_a_volume_that_is_made_by_its_path_have_the_path(ask):
    made = ask("POST", "/dummy/volumes/filer:/new", {"name": "n1", "size_total": GB})
    assert (made.status_code, made.json["name"]) == (201, "n1")
    client = ask.service.app.test_client()
    (job,) = client.get("/v4/jobs?operation=create_volume", auth=("admin", "secret")).json
    assert job["request"]["volume"] == "n1"
    by_path = client.get("/v4/jobs?volume=filer:/new", auth=("admin", "secret")).json
    assert [each["id"] for each in by_path] == [job["id"]]


def test_changes_of_a_volume(ask):
    make(ask)
    changed = ask("PATCH", "/dummy/volumes/v1", {"size_total": 2 * GB, "unknown": 1})
    assert (changed.status_code, changed.data) == (200, b"null\n")
    assert ask("GET", "/dummy/volumes/v1").json["size_total"] == 2 * GB
    assert "No PATCH data provided!" in ask.message(400, "PATCH", "/dummy/volumes/nope", {"unknown": 1})
    assert "No such volume" in ask.message(404, "PATCH", "/dummy/volumes/nope", {"size_total": 1})
    assert ask("PATCH", "/dummy/volumes/v1", {"max_autosize": 1}).status_code == 400


def test_locks(ask):
    make(ask)
    assert ask("GET", "/dummy/volumes/v1/locks").json == []
    assert [ask("PUT", "/dummy/volumes/v1/locks/h1", b"{}").data for _ in range(2)] == [b'""\n', b'""\n']
    assert ask.message(400, "PUT", "/dummy/volumes/v1/locks/h2") == "v1 is already locked by h1!"
    assert ask("DELETE", "/dummy/volumes/v1/locks/h2").status_code == 204
    assert ask("GET", "/dummy/volumes/v1/locks").json == [{"host": "h1"}]
    assert [ask("DELETE", "/dummy/volumes/v1/locks/h1").status_code for _ in range(2)] == [204, 204]
    for method, path in (("GET", ""), ("PUT", "/h1"), ("DELETE", "/h1")):
        assert "No such volume: nope" in ask.message(404, method, f"/dummy/volumes/nope/locks{path}")


def test_export_policies(ask):
    made = ask("POST", "/dummy/export/p/q", {"rules": ["*db.cern.ch", "10.0.0.0/8", "*db.cern.ch"]})
    assert (made.status_code, made.data) == (201, b'""\n')
    assert ask("GET", "/dummy/export/p/q").json == {"name": "p/q", "rules": ["*db.cern.ch", "10.0.0.0/8"]}
    assert {"name": "p/q", "rules": ["*db.cern.ch", "10.0.0.0/8"]} in ask("GET", "/dummy/export").json
    assert ask.message(400, "POST", "/dummy/export/p/q", {}).startswith("Policy p/q already exists!")
    assert [ask("PUT", "/dummy/export/p/q/rule/10.1.0.0/16").status_code for _ in range(2)] == [201, 201]
    assert [ask("DELETE", "/dummy/export/p/q/rule/*db.cern.ch").status_code for _ in range(2)] == [204, 204]
    assert ask("GET", "/dummy/export/p/q").json["rules"] == ["10.0.0.0/8", "10.1.0.0/16"]
    assert ask("POST", "/dummy/export/empty", {}).status_code == 201
    assert ask("GET", "/dummy/export/empty").json["rules"] == []
    make(ask, active_policy_name="empty")
    assert "in use" in ask.message(400, "DELETE", "/dummy/export/empty")
    assert ask("DELETE", "/dummy/export/p/q").status_code == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("PUT", "/rule/r"), ("DELETE", "/rule/r")):
        assert "No such policy" in ask.message(404, method, f"/dummy/export/p/q{path}")


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/nope/volumes", 404, "No such subsystem. Allowed values are: dummy"),
        ("GET", "/dummy/volumes/a%20b", 400, "Invalid volume name"),
        ("DELETE", "/dummy/volumes/a*/locks/h", 400, "Invalid volume name"),
        ("POST", "/dummy/volumes/a/b", 400, "Invalid volume name"),
        ("GET", "/dummy/volumes/a/b", 404, "No such volume: a/b"),
        ("POST", "/dummy/volumes/-a", 400, "Invalid volume name"),
        ("POST", "/dummy/volumes/-a/snapshots/s", 404, "No such volume: -a"),
        ("PATCH", "/dummy/volumes/-a", 404, "No such volume: -a"),
        ("DELETE", "/dummy/volumes/-a", 404, "No such volume: -a"),
        ("PUT", "/dummy/volumes/-a/locks/h", 404, "No such volume: -a"),
        ("POST", "/dummy/volumes/v/snapshots/a%20b", 400, "Invalid snapshot name"),
        ("DELETE", "/dummy/volumes/v/snapshots/a%20b", 404, "No such snapshot"),
        ("PUT", "/dummy/volumes/v/locks/a%20b", 400, "Invalid host name"),
        ("DELETE", "/dummy/volumes/v/locks/a%20b", 404, "host"),
        ("POST", "/dummy/export/a%20b", 400, "Invalid policy name"),
        ("GET", "/dummy/export/a%20b", 404, "No such policy"),
        ("PUT", "/dummy/export/p/rule/a%20b", 400, "Invalid rule"),
        ("DELETE", "/dummy/export/p/rule/a%09b", 404, "rule"),
        ("GET", "/dummy/volumes/", 404, "nothing"),
        ("GET", "/dummy/volumes/a/", 404, "nothing"),
        ("POST", "/dummy/volumes/a/", 404, "nothing"),
        ("GET", "/dummy/volumes//snapshots", 404, "nothing"),
        ("GET", "/dummy", 404, "nothing"),
        ("GET", "", 404, "nothing"),
        ("POST", "/dummy/volumes", 405, "POST"),
        ("GET", "/dummy/volumes/v/locks/h", 405, "GET"),
        ("PATCH", "/dummy/export/p/rule/r", 405, "PATCH"),
    ],
)
def test_invalid_requests_are_refused_at_once(idle, method, path, status, message):
    assert message in idle.message(status, method, path, {})
    assert idle.service.waiting() == []


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"size_total": "1"}, {"size_total"}),
        ({"size_total": 1.5}, {"size_total"}),
        ({"size_total": True}, {"size_total"}),
        ({"size_total": None}, {"size_total"}),
        ({"size_total": -1}, {"size_total"}),
        ({"size_total": 2**63}, {"size_total"}),
        (
            {"percentage_snapshot_reserve": 101, "autosize_enabled": 1},
            {"percentage_snapshot_reserve", "autosize_enabled"},
        ),
        ({"name": ""}, {"name"}),
        ([], {""}),
        (b"null", {""}),
    ],
)
def test_fields_are_checked(idle, body, errors):
    answer = idle("POST", "/dummy/volumes/v", body, **({"Content_Type": "application/json"} if body == b"null" else {}))
    assert (answer.status_code, answer.json["message"]) == (400, "Input payload validation failed")
    assert set(answer.json["errors"]) == errors
    assert idle.service.waiting() == []


def test_each_invalid_rule_is_reported(idle):
    answer = idle("POST", "/dummy/export/p", {"rules": ["ok", "", 1]})
    assert set(answer.json["errors"]) == {"rules.1", "rules.2"}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 5000, b'{"name": "\xff"}', b'{"size_total": 1e999}', b'{"size_total": NaN}']
)
def test_malformed_bodies_are_refused(idle, body):
    answer = idle("PATCH", "/dummy/volumes/v", body, Content_Type="application/json; charset=utf-8")
    assert answer.status_code == 400
    assert answer.json["message"].startswith(("Failed to decode JSON object", "Input payload validation failed"))


@pytest.mark.parametrize(
    ("content_type", "status"),
    [("text/plain", 400), ("application/json", 504), ("application/merge-patch+json; charset=utf-8", 504)],
)
def test_a_body_needs_its_content_type(idle, content_type, status):
    answer = idle("POST", "/dummy/volumes/v", b'{"size_total": 1}', Content_Type=content_type)
    assert (answer.status_code, answer.json.get("errors")) == (
        (400, {"": "must be JSON, sent with Content-Type: application/json"}) if status == 400 else (504, None)
    )
    assert "errors" in idle("POST", "/dummy/volumes/v", b'{"size_total": 1}').json
