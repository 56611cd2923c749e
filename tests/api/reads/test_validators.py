"""Entity tags and times, by which clients ask whether their copy is still right."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

from tests.api.reads.cached_listing import listed
from worker.catalog.resource_types import VOLUMES
from worker.maintenance.compaction import Compaction


def test_etags(service):
    listed(service)
    plain = service.get(Accept_Encoding="identity")
    packed = service.get(Accept_Encoding="gzip")
    assert plain.headers["ETag"] != packed.headers["ETag"]
    assert packed.headers["Content-Encoding"] == "gzip"
    # The same bytes from every process, without the time: they have the same entity tag.
    assert packed.data[4:8] == bytes(4)
    assert {*packed.headers.keys()} ^ {*plain.headers.keys()} == {"Content-Encoding"}
    for tag in (
        plain.headers["ETag"],
        packed.headers["ETag"],
        f"W/{plain.headers['ETag']}",
        # As a proxy that compresses writes it.
        f'{plain.headers["ETag"][:-1]};gzip"',
        '"x", ' + packed.headers["ETag"],
        "*",
    ):
        again = service.get(If_None_Match=tag, Accept_Encoding="gzip")
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == packed.headers["ETag"]
        assert {"Age", "Cache-Control", "Cache-Status", "Vary"} <= set(again.headers.keys())
    assert service.get(If_None_Match='"x"').status_code == 200
    assert service.get("volumes?limit=3", If_None_Match=plain.headers["ETag"]).status_code == 200


def test_if_modified_since(service):
    listed(service)
    service.age("dummy/volumes", 30)
    answer = service.get()
    since = answer.headers["Last-Modified"]
    as_of_ms: Any = service.redis.hget("sapi:listing:dummy/volumes", "as_of")
    assert since == formatdate(int(as_of_ms) / 1000, usegmt=True)
    assert service.get(If_Modified_Since=since).status_code == 304
    for headers in (
        {"If_Modified_Since": "Thu, 01 Jan 2026 00:00:00 GMT"},
        {"If_Modified_Since": "nonsense"},
        # No year that a date may have.
        {"If_Modified_Since": f"Fri, 01 Jan {'9' * 11} 00:00:00 GMT"},
        {"If_Modified_Since": since, "If_None_Match": '"x"'},
    ):
        assert service.get(**headers).status_code == 200, headers
    service.change("POST", "volumes/new", {"size_total": 2**30})
    changed = service.get(If_Modified_Since=since)
    changed_ms: Any = service.redis.hget("sapi:listing:dummy/volumes", "changed")
    assert changed.status_code == 200
    assert changed.headers["Last-Modified"] == formatdate(int(changed_ms) / 1000, usegmt=True)
    # Another change may follow in the same second.
    assert service.get(If_Modified_Since=changed.headers["Last-Modified"]).status_code == 200
    assert service.get(If_Unmodified_Since=since).status_code == 412
    assert service.get(If_Unmodified_Since=changed.headers["Last-Modified"]).status_code == 200


def test_if_modified_since_after_a_compaction(service):
    """Changes are in the base then; another one may follow in the second of the last one."""
    listed(service)
    service.age("dummy/volumes", 30)
    since = service.get().headers["Last-Modified"]
    service.change("DELETE", "volumes/acclog_backup01")
    listings, scripts = service.services.listings, service.services.scripts
    Compaction(listings, scripts, ["dummy"], compact_after=1)()
    state = listings.listing_state(VOLUMES, "dummy/volumes")
    assert state.listing_version.seq == state.listing_version.base_seq
    for known in (since, service.get().headers["Last-Modified"]):
        assert service.get(If_Modified_Since=known).status_code == 200


def test_responses_vary_by_coding_and_credentials(service):
    listed(service)
    for headers in ({}, {"If_None_Match": "*"}):
        assert service.get(**headers).headers["Vary"] == "Accept-Encoding, Authorization, Cookie"


def test_an_equal_refresh_keeps_the_etag_and_a_change_does_not(service):
    listed(service)
    tag = service.get().headers["ETag"]
    service.run(service.get(Cache_Control="no-cache").json["id"])
    assert service.get().headers["ETag"] == tag
    service.change("PATCH", "volumes/acclog_backup01", {"autosize_enabled": False, "percentage_snapshot_reserve": 7})
    assert service.get().headers["ETag"] != tag
    assert service.get(If_None_Match=tag).status_code == 200


def test_head_is_get_without_a_body(service):
    listed(service)
    got = service.get()
    head = service.app.test_client().head("/v4/dummy/volumes", auth=("admin", "secret"))
    assert head.data == b""
    for name in ("ETag", "X-Total-Count", "Content-Length", "Content-Type"):
        assert head.headers[name] == got.headers[name]
