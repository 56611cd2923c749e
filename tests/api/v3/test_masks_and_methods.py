"""Masks, methods, conditions and paths of the old API."""

from __future__ import annotations

from typing import Any

import pytest

from api.v3.fields import VOLUME_KEYS
from api.v3.headers import is_below
from tests.api.v3.created_volumes import make

GB = 10**9


@pytest.mark.parametrize(
    ("mask", "keys"),
    [
        ("name", ["name"]),
        ("{size_total, name}", ["size_total", "name"]),
        ("", list(VOLUME_KEYS)),
        ("name,*", list(VOLUME_KEYS)),
        ("nothing", []),
        ("{}", []),
        ("name, name , nothing", ["name"]),
    ],
)
def test_a_mask_selects_keys(ask, mask, keys):
    assert list(ask("POST", "/dummy/volumes/v1", {"size_total": GB}, X_Fields=mask).json) == keys
    assert list(ask("GET", "/dummy/volumes/v1", X_Fields=mask).json) == keys
    listed = ask("GET", "/dummy/volumes", X_Fields=mask).json
    assert len(listed) == 4
    assert all(list(record) == keys for record in listed)


@pytest.mark.parametrize("mask", ["{name", "name}", "a,,b", "name{x}", "{name{x}}", ","])
def test_an_invalid_mask_is_refused(idle, mask):
    assert idle.message(400, "GET", "/dummy/volumes", X_Fields=mask).startswith("Mask")
    assert idle.message(400, "POST", "/dummy/volumes/v", {"size_total": "x"}, X_Fields=mask).startswith("Mask")


def test_queries_accept_and_prefer_are_ignored(ask):
    answer = ask("GET", "/dummy/volumes?limit=1&nope=1", Accept="text/html", Prefer="respond-async")
    assert (answer.status_code, len(answer.json)) == (200, 3)
    assert ask("POST", "/dummy/volumes/v1?x=1", {"size_total": GB}, Prefer="respond-async").status_code == 201


def test_head_and_options(ask):
    head = ask("HEAD", "/dummy/volumes")
    assert (head.status_code, head.data) == (200, b"")
    options = ask("OPTIONS", "/dummy/volumes/v/locks/h")
    assert (options.status_code, options.data, options.headers.get("Content-Type")) == (200, b"", None)
    assert set(options.headers["Allow"].split(", ")) == {"PUT", "DELETE", "OPTIONS"}


def test_unchanged_is_304(ask):
    first = ask("GET", "/dummy/volumes")
    assert ask("GET", "/dummy/volumes", If_None_Match=first.headers["ETag"]).status_code == 304
    assert ask("GET", "/dummy/volumes", If_None_Match=first.headers["ETag"], X_Fields="name").status_code == 200
    packed = ask("GET", "/dummy/volumes", Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    # The same bytes from every process, without the time: they have the same entity tag.
    assert packed.data[4:8] == bytes(4)
    plain = ask("GET", "/dummy/volumes")
    assert {*packed.headers.keys()} ^ {*plain.headers.keys()} == {"Content-Encoding"}
    assert packed.headers["ETag"] != first.headers["ETag"]
    assert set(packed.headers["Vary"].split(", ")) >= {"Accept-Encoding", "Authorization", "Cookie", "X-Fields"}
    masked = ask("GET", "/dummy/volumes", Accept_Encoding="gzip", X_Fields="name")
    assert "Content-Encoding" not in masked.headers
    # Another volume and the listing of /v4 have other entity tags.
    one, other = (record["name"] for record in first.json[:2])
    tag = ask("GET", f"/dummy/volumes/{one}").headers["ETag"]
    assert ask("GET", f"/dummy/volumes/{one}", If_None_Match=tag, Accept_Encoding="gzip").status_code == 304
    assert ask("GET", f"/dummy/volumes/{other}", If_None_Match=tag).status_code == 200
    newer = ask.service.get()
    assert newer.status_code == 200
    assert ask("GET", "/dummy/volumes", If_None_Match=newer.headers["ETag"]).status_code == 200


def test_a_snapshot_beyond_the_limit_is_a_conflict(ask):
    make(ask)
    for number in range(3):
        assert ask("POST", f"/dummy/volumes/v1/snapshots/s{number}", {}).status_code == 201
    full = ask("POST", "/dummy/volumes/v1/snapshots/last", {})
    assert full.status_code == 409, full.data
    assert ask("POST", "/dummy/volumes/v1/snapshots/last", {"purge_old_if_needed": True}).status_code == 201


def test_an_idempotency_key_identifies_the_request(ask):
    answers = [ask("POST", "/dummy/volumes/v1", {"size_total": GB}, Idempotency_Key="k") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len({answer.headers["Operation-Location"] for answer in answers}) == 1
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers] == [None, "true"]
    refusals = [ask("DELETE", "/dummy/volumes/v2", Idempotency_Key="l") for _ in range(2)]
    assert [(answer.status_code, answer.headers.get("Idempotency-Replayed")) for answer in refusals] == [
        (404, None), (404, "true"),
    ]  # fmt: skip


def test_a_repeated_key_after_the_result_has_expired(ask):
    creation = ("POST", "/dummy/volumes/late", {"size_total": GB})
    snapshot: tuple[str, str, dict[str, Any]] = ("POST", "/dummy/volumes/late/snapshots/s", {})
    for number, request in enumerate((creation, snapshot)):
        first = ask(*request, Idempotency_Key=f"k{number}")
        assert first.status_code == 201
        job_id = first.headers["Operation-Location"].rpartition("/")[2]
        assert ask.service.services.redis.delete(f"sapi:result:{job_id}") == 1
    assert "succeeded" in ask.message(500, *creation, Idempotency_Key="k0")
    assert "Retry-After" not in ask(*creation, Idempotency_Key="k0").headers
    repeated = ask(*snapshot, Idempotency_Key="k1")
    assert (repeated.status_code, repeated.json) == (201, "")


def test_only_paths_below_v3_are_matched():
    assert is_below("/v3")
    assert is_below("/v3/x")
    assert not is_below("/v30/x")
    assert not is_below("/v4/v3/")
