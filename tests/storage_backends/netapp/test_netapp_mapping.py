"""Records that are complete, and records of which a part is missing or malformed, by themselves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from storage_backends.models import Snapshot, Volume
from storage_backends.netapp.ontap import malformed_records, mapping
from tests.ontap_simulator.world import World


def test_a_complete_record_needs_no_look_at_each_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing has ten thousand of them, and the other way takes several times as long."""

    def tolerant(record: Any, nodes: Any) -> Volume:
        raise AssertionError(record)

    monkeypatch.setattr(mapping, "_tolerant", tolerant)
    monkeypatch.setattr(mapping, "_well_typed", set())
    world = World()
    records = [world.add_volume("home", nas={"path": "/home"}), world.add_volume("bare", qos={"policy": {"name": "q"}})]
    del records[1]["nodes"]
    optional = ("efficiency", "flash_pool", "snapshot_policy", "guarantee", "qos", "tiering", "comment")
    records.append({name: value for name, value in records[0].items() if name not in optional})
    volumes = [mapping.volume(record, {"aggr1_n1": "node7"}) for record in records * 2]
    assert [volume.filer_address for volume in volumes] == ["node1", "node7", "node1"] * 2
    assert len(mapping._well_typed) == 3  # Which types its fields have is looked at once for each combination.


def _with(record: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """The record with one field changed, by its dotted name."""
    part, _, rest = name.partition(".")
    if isinstance(record.get(part), list):
        return record | {part: [_with(record[part][0], rest, value)]}
    return record | {part: _with(record.get(part, {}), rest, value) if rest else value}


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("uuid", "uuid"), ("state", "state"), ("nodes.name", "filer_address"), ("aggregates.name", "aggregate_name"),
        ("nas.path", "junction_path"), ("nas.export_policy.name", "active_policy_name"),
        ("flash_pool.caching_policy", "caching_policy"), ("snapshot_policy.name", "snapshot_policy"),
        ("nas.security_style", "security_style"), ("guarantee.type", "space_guarantee"),
        ("qos.policy.name", "qos_policy"), ("type", "type"), ("tiering.policy", "tiering_policy"),
        ("comment", "comment"), ("autosize.mode", "autosize_enabled"),
        ("space.used", "size_used"), ("autosize.maximum", "max_autosize"),
        ("nas.unix_permissions", "unix_permissions"),
        ("space.snapshot.reserve_percent", "percentage_snapshot_reserve"),
        ("space.snapshot.space_used_percent", "percentage_snapshot_reserve_used"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrong", [7, "7", True, ["7"]], ids=repr)
def test_a_field_of_a_wrong_type_reads_as_null_and_no_other_does(name: str, field: str, wrong: Any) -> None:
    record = World().add_volume("home", nas={"path": "/home"}, qos={"policy": {"name": "gold"}}, comment="mine")
    whole = asdict(mapping.volume(record))
    is_right = type(wrong) is (int if type(whole[field]) is int or field == "unix_permissions" else str)
    mapped = asdict(mapping.volume(_with(record, name, wrong)))
    assert (mapped.pop(field) is None) is not is_right
    del whole[field]
    assert mapped == whole
    assert None not in whole.values()


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_volume_has_its_own_node_or_that_of_its_aggregate(is_complete: bool) -> None:
    record = World().add_volume("home") if is_complete else {"name": "home", "aggregates": [{"name": "aggr1_n1"}]}
    record.pop("nodes", None)
    assert mapping.volume(record, {"aggr1_n1": "node7"}).filer_address == "node7"
    assert mapping.volume(record, {"": "node7"}).filer_address is None
    own = mapping.volume(record | {"nodes": [{"name": "node3"}]}, {"aggr1_n1": "node7"})
    assert own.filer_address == "node3"
    assert mapping.with_node(own, {"aggr1_n1": "node7"}) is own


@pytest.mark.parametrize(
    ("record", "size_total"),
    [
        ({"size": 1000, "space": {"snapshot": {"reserve_percent": 7}}}, 930),
        ({"space": {"size": 1000, "snapshot": {"reserve_percent": 0}}}, 1000),
        ({"size": 1000, "space": {"afs_total": 900, "snapshot": {"reserve_percent": 7}}}, 900),
        ({"size": 1000}, None),
        ({"space": {"snapshot": {"reserve_percent": 7}}}, None),
    ],
)
def test_the_usable_size_is_known_or_follows_from_the_reserve(record: dict[str, Any], size_total: int | None) -> None:
    assert mapping.volume({"name": "home", **record}).size_total == size_total


def test_the_limit_of_growth_is_a_fifth_more_than_the_size_and_no_more_than_a_filer_can_store() -> None:
    assert mapping.default_maximum(2**60) == -(-(2**60) * 6 // 5)
    assert mapping.default_maximum(2**63 - 1) == 2**63 - 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"name": "home", "comment": None, "nas": {"path": None}}, "it has odd values in comment, nas.path"),
        (
            {"name": "home", "aggregates": [None], "space": {"used": "12"}},
            "it has odd values in aggregates, space.used",
        ),
        ({"name": "home", "aggregates": [{"name": "a"}], "nodes": {"name": "n"}}, "it has odd values in nodes"),
        (
            World().add_volume("home", efficiency={"compression": 7}, autosize={"mode": 1}),
            "it has odd values in autosize.mode, efficiency.compression",
        ),
        (World().add_volume("home", efficiency={"compression": 7}), "it has odd values in efficiency.compression"),
        ({"name": "home", "aggregates": [{"name": 5}], "nodes": [{"name": "n"}]}, "it has odd values in aggregates"),
        ({"name": "home", "aggregates": [], "nodes": [{}], "qos": None}, "it has odd values in qos.policy.name"),
    ],
)
def test_the_log_names_each_malformed_field(
    record: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(malformed_records, "_reported", set())
    assert mapping.volume(record).name == "home"
    assert [entry.args for entry in caplog.records] == [("volume", "home", reason)]


def test_the_log_names_the_malformed_fields_of_a_snapshot(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(malformed_records, "_reported", set())
    time = "2024-01-03T01:00:00+02:00"
    assert mapping.snapshot({"name": "new", "create_time": time}) == Snapshot("new", "2024-01-02T23:00:00Z", None)
    assert mapping.snapshot({"name": "odd", "create_time": 5, "reclaimable_space": 2048}) == Snapshot("odd", None, 2)
    assert [entry.args for entry in caplog.records] == [("snapshot", "odd", "it has odd values in create_time")]


def test_the_log_says_that_a_record_without_a_name_is_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(malformed_records, "_reported", set())
    assert [mapping.has_name(record) for record in (None, {}, {"name": ""}, {"name": 5}, {"name": "x"})] == [
        *[False] * 4,
        True,
    ]
    assert [entry.args for entry in caplog.records] == [("record", "", "it has no name, and is left out")]


@pytest.mark.parametrize(
    ("changes", "is_listed"),
    [
        ({}, True),
        ({"name": None}, False),
        ({"state": "online"}, False),
        ({"type": "dp"}, False),
        ({"is_svm_root": True}, False),
        ({"is_svm_root": None, "nas": {"path": "/"}}, False),
        ({"style": "flexgroup_constituent"}, False),
        ({"aggregates": [{"name": "aggr0_n1"}]}, False),
    ],
)
def test_what_can_be_reinstated_is_a_restricted_data_volume_with_a_name(
    changes: dict[str, Any], is_listed: bool
) -> None:
    record = World().add_volume("home", state="restricted") | changes
    assert mapping.is_restricted_volume(record) is is_listed
