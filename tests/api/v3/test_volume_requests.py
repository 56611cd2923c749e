"""What a POST to a volume below /v3 asks for: the predecessor's defaults, and fields that it ignored."""

from __future__ import annotations

from typing import Any

import pytest

from api.http.problems import Problem
from api.v3.volume_requests import parse_volume_post
from worker.catalog.operations import CLONE_VOLUME, CREATE_VOLUME, ROLL_BACK_VOLUME

SOURCE = {"from_volume": "old", "from_snapshot": "s"}
DEFAULTS: dict[str, Any] = {
    "percentage_snapshot_reserve": 0,
    "compression_enabled": True,
    "inline_compression": True,
    "autosize_enabled": True,
}


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ({}, {}),
        ({"size_total": 99}, {"size_total": 99, "max_autosize": 118}),
        ({"size_total": 2**63 - 1}, {"size_total": 2**63 - 1, "max_autosize": 2**63 - 1}),
        ({"size_total": 99, "max_autosize": 500}, {"size_total": 99, "max_autosize": 500}),
        ({"size_total": 99, "autosize_enabled": False}, {"size_total": 99, "autosize_enabled": False}),
        ({"name": "other", "compression_enabled": False}, {"compression_enabled": False}),
    ],
)
def test_a_new_volume_has_the_predecessor_s_defaults(body: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert parse_volume_post("v", body, "DummyStorage") == (CREATE_VOLUME, {**DEFAULTS, "volume": "v", **arguments})


def test_on_a_filer_size_and_path_are_required() -> None:
    whole = {"size_total": 100, "junction_path": "/v"}
    for body in ({}, {"size_total": 100}, {"junction_path": "/v"}):
        with pytest.raises(Problem) as refused:
            parse_volume_post("v", body, "NetappStorage")
        missing = [f"/{name}" for name in whole if name not in body]
        assert [error["pointer"] for error in refused.value.errors] == missing
        assert refused.value.code == "validation-failed"
    assert parse_volume_post("v", whole, "NetappStorage")[1]["junction_path"] == "/v"
    by_path = {"name": "v", "size_total": 100}
    assert parse_volume_post("n:/p", by_path, "NetappStorage")[1]["junction_path"] == "/p"


@pytest.mark.parametrize(
    ("volume", "body", "arguments"),
    [
        ("v", {**SOURCE, "name": "other", "caching_policy": "auto"}, {**SOURCE, "volume": "v"}),
        (
            "v",
            {**SOURCE, "junction_path": "/p", "active_policy_name": "q", "size_total": 9},
            {**SOURCE, "volume": "v", "junction_path": "/p", "active_policy_name": "q", "size_total": 9},
        ),
        ("n:/p", {**SOURCE, "name": "v", "junction_path": "/q"}, {**SOURCE, "volume": "v", "junction_path": "/p"}),
    ],
)
def test_a_clone_ignores_other_settings(volume: str, body: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert parse_volume_post(volume, body, "NetappStorage") == (CLONE_VOLUME, arguments)


def test_a_roll_back_ignores_all_but_the_snapshot() -> None:
    body = {"from_snapshot": "s", "name": "", "size_total": 9, "junction_path": "bad"}
    for volume in ("v", "n:/p"):
        arguments = {"volume": volume, "from_snapshot": "s"}
        assert parse_volume_post(volume, body, "NetappStorage") == (ROLL_BACK_VOLUME, arguments)


@pytest.mark.parametrize(
    ("volume", "body", "pointer"),
    [
        ("v", {"from_volume": "old"}, "/from_snapshot"),
        ("n:/p", {}, "/name"),
        ("n:/p", {"name": "a b"}, "/name"),
        ("v", {"junction_path": "p"}, "/junction_path"),
    ],
)
def test_fields_that_are_used_are_validated(volume: str, body: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_volume_post(volume, body, "DummyStorage")
    assert [error["pointer"] for error in refused.value.errors] == [pointer]
