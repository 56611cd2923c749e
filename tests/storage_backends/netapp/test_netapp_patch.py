"""The body of a PATCH by the requested settings and what the filer returns; and settings that are always refused."""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.errors import AlreadyExists, InvalidRequest, StorageError
from storage_backends.journal import InMemoryJournal
from storage_backends.netapp.ontap import mapping
from storage_backends.netapp.operations.volume_patch import changes, creation
from tests.ontap_simulator import Simulator
from tests.storage_backends.conformance import MIB
from tests.storage_backends.netapp.changes import furnish
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.mark.parametrize(
    ("mode", "settings", "sent"),
    [
        (None, {"autosize_enabled": False}, {"autosize": {"mode": "off"}}),
        (None, {"autosize_enabled": True}, {"autosize": {"mode": "grow"}}),
        ("off", {"autosize_enabled": False}, {}),
        ("grow", {"autosize_enabled": False}, {"autosize": {"mode": "off"}}),
        (None, {"comment": "c"}, {"comment": "c"}),
    ],
)
def test_autosize_that_the_filer_does_not_tell_is_sent(ontap: Simulator, mode: Any, settings: Any, sent: Any) -> None:
    furnish(ontap)
    record = next(iter(ontap.world.volumes.values())) | {"autosize": {"mode": mode} if mode else {}}
    assert changes(record, settings) == sent


@pytest.mark.parametrize(
    ("autosize", "settings", "sent"),
    [
        ({}, {"max_autosize": 500 * MIB}, {"autosize": {"maximum": 500 * MIB}}),
        ({"mode": "grow", "maximum": 500 * MIB}, {"max_autosize": 500 * MIB}, {}),
        ({"mode": "grow", "maximum": 500 * MIB}, {"max_autosize": 500 * MIB + 1}, {}),  # Less than a block.
        ({"mode": "grow", "maximum": 500 * MIB}, {"max_autosize": 400 * MIB}, {"autosize": {"maximum": 400 * MIB}}),
        # As big as the limit, and bigger; where it does not grow there is no limit.
        ({"mode": "grow", "maximum": 200 * MIB}, {"size_total": 190 * MIB}, {"size": 200 * MIB}),
        (
            {"mode": "grow_shrink", "maximum": 200 * MIB},
            {"size_total": 380 * MIB},
            {"size": 400 * MIB, "autosize": {"maximum": 480 * MIB}},
        ),
        (
            {"mode": "grow", "maximum": 200 * MIB},
            {"size_total": 380 * MIB, "max_autosize": 500 * MIB},
            {"size": 400 * MIB, "autosize": {"maximum": 500 * MIB}},
        ),
        ({"mode": "off", "maximum": 200 * MIB}, {"size_total": 380 * MIB}, {"size": 400 * MIB}),
        ({"mode": "grow"}, {"size_total": 380 * MIB}, {"size": 400 * MIB}),
        ({"mode": "off"}, {"size_total": 95 * MIB + 1}, {}),  # Less than a block: nothing changes.
        (
            {"mode": "grow", "maximum": 200 * MIB},  # A block more is more.
            {"size_total": 100 * MIB + 4096, "percentage_snapshot_reserve": 0, "max_autosize": 200 * MIB + 4096},
            {
                "size": 100 * MIB + 4096,
                "space": {"snapshot": {"reserve_percent": 0}},
                "autosize": {"maximum": 200 * MIB + 4096},
            },
        ),
        ({"mode": "off"}, {"percentage_snapshot_reserve": 0}, {"space": {"snapshot": {"reserve_percent": 0}}}),
        (
            {"mode": "off", "maximum": 200 * MIB},
            {"size_total": 380 * MIB, "autosize_enabled": True},
            {"size": 400 * MIB, "autosize": {"mode": "grow", "maximum": 480 * MIB}},
        ),
    ],
)
def test_a_limit_of_growth_is_sent_where_it_is_needed(
    ontap: Simulator, autosize: Any, settings: Any, sent: Any
) -> None:
    furnish(ontap)
    assert changes(next(iter(ontap.world.volumes.values())) | {"autosize": autosize}, settings) == sent


def test_no_qos_policy_is_not_sent_where_there_is_none(ontap: Simulator) -> None:
    furnish(ontap)
    record = next(iter(ontap.world.volumes.values())) | {"qos": {}}
    assert changes(record, {"qos_policy": "none"}) == {}
    with_policy = record | {"qos": {"policy": {"name": "gold"}}}
    assert changes(with_policy, {"qos_policy": "none"}) == {"qos": {"policy": {"name": "none"}}}


_JOB = "01a21bdf-3dfc-7b28-ade2-a41bf9ec12c8"


@pytest.mark.parametrize(
    ("setting", "value", "sent"),
    [
        ("tiering_policy", "snapshot-only", {"tiering": {"policy": "snapshot_only"}}),
        ("unix_permissions", "0007", {"nas": {"unix_permissions": 7}}),
        ("comment", f"by job:{_JOB}", {"comment": f"by job:{_JOB} job:{_JOB}"}),  # One of them is not displayed.
    ],
)
def test_a_value_is_sent_in_the_filer_s_spelling(ontap: Simulator, setting: str, value: str, sent: Any) -> None:
    furnish(ontap)
    settings: Any = {setting: value}
    assert changes(next(iter(ontap.world.volumes.values())), settings) == sent


def test_a_size_that_the_filer_does_not_tell_is_sent(ontap: Simulator) -> None:
    furnish(ontap)
    record = next(iter(ontap.world.volumes.values())) | {"size": None}
    assert changes(record, {"size_total": 95 * MIB}) == {"size": 100 * MIB}


def test_a_new_size_is_all_of_it_without_a_reserve(ontap: Simulator) -> None:
    furnish(ontap)
    without = {"space": {"snapshot": {"reserve_percent": 0}}, "autosize": {"mode": "off"}}
    record = next(iter(ontap.world.volumes.values())) | without
    assert changes(record, {"size_total": 190 * MIB}) == {"size": 190 * MIB}


@pytest.mark.parametrize("space", [{}, {"snapshot": {"reserve_percent": None}}, {"snapshot": {"reserve_percent": "5"}}])
def test_no_size_is_computed_from_an_unknown_reserve(ontap: Simulator, space: Any) -> None:
    """The volume would be smaller than was requested."""
    furnish(ontap)
    record = next(iter(ontap.world.volumes.values())) | {"space": space}
    with pytest.raises(StorageError, match="snapshot reserve"):
        changes(record, {"size_total": 190 * MIB})
    both: Any = {"size_total": 180 * MIB, "percentage_snapshot_reserve": 10}
    assert changes(record, both)["size"] == 200 * MIB


@pytest.mark.parametrize(
    ("settings", "size", "autosize"),
    [
        ({}, 20 * MIB, {"mode": "grow", "maximum": 24 * MIB}),
        ({"autosize_enabled": False, "max_autosize": MIB}, 20 * MIB, {"mode": "off", "maximum": MIB}),
        (
            {"size_total": 2**63 - 1, "percentage_snapshot_reserve": 0},
            2**63 - 1,
            {"mode": "grow", "maximum": 2**63 - 1},
        ),
    ],
)
def test_sizes_of_a_new_volume(settings: Any, size: int, autosize: dict[str, Any]) -> None:
    body = creation(settings)
    assert (body["size"], body["autosize"]) == (size, autosize)


def test_sizes_are_rounded_up() -> None:
    assert mapping.size_with_reserve(100, 7) == 108
    assert mapping.default_maximum(101) == 122
    assert mapping.size_with_reserve(100, 0) == 100
    with pytest.raises(InvalidRequest) as refused:
        creation({"size_total": 2**63 - 2})
    assert [error.pointer for error in refused.value.errors] == ["/size_total"]


@pytest.mark.parametrize("path", ["new", "/", ""])
def test_an_invalid_junction_path_is_refused_before_anything_is_sent(ontap: Simulator, path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        open_backend(ontap).create_volume("new", journal=InMemoryJournal(), junction_path=path)
    assert [error.pointer for error in refused.value.errors] == ["/junction_path"]
    assert ontap.changes_sent() == []


def test_a_junction_path_that_is_taken_is_refused_before_anything_is_sent(ontap: Simulator) -> None:
    ontap.world.add_volume("other", nas={"path": "/new"})
    with pytest.raises(AlreadyExists):
        open_backend(ontap).create_volume("new", journal=InMemoryJournal(), junction_path="/new")
    assert ontap.changes_sent() == []


@pytest.mark.parametrize(
    ("dedupe", "settings", "sent"),
    [
        ("none", {"compression_enabled": False, "inline_compression": False}, {"compression": "none"}),
        ("none", {"compression_enabled": True}, {}),
        ("none", {"compression_enabled": False}, {"compression": "inline", "dedupe": "background"}),
        (None, {"compression_enabled": False}, {"compression": "inline", "dedupe": "background"}),
        ("inline", {"inline_compression": False}, {"compression": "background"}),
    ],
)
def test_compression_needs_deduplication(ontap: Simulator, dedupe: str | None, settings: Any, sent: Any) -> None:
    furnish(ontap)
    record = next(iter(ontap.world.volumes.values())) | {"efficiency": {"compression": "both", "dedupe": dedupe}}
    assert changes(record, settings) == ({"efficiency": sent} if sent else {})


@pytest.mark.parametrize(
    ("efficiency", "settings", "sent"),
    [
        ({"compression": "mixed"}, {"comment": "c"}, {"comment": "c"}),
        ({}, {"compression_enabled": False, "inline_compression": False}, {}),
    ],
)
def test_compression_is_not_changed_unless_requested(
    ontap: Simulator, efficiency: dict[str, Any], settings: Any, sent: dict[str, Any]
) -> None:
    furnish(ontap)
    assert changes(next(iter(ontap.world.volumes.values())) | {"efficiency": efficiency}, settings) == sent
