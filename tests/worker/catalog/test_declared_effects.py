"""What the catalog declares of each operation: effects on the cache, ordering keys, and the status of a success."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from storage_backends.errors import BackendUnavailable, NotFound
from storage_backends.journal import InMemoryJournal
from tests.worker.harness import CALLS, SUBSYSTEM, Harness
from worker.catalog.operations import OPERATIONS
from worker.catalog.ordering_keys import ordering_keys
from worker.catalog.success_status import RETURNS_LOCATION, success_status
from worker.jobs.record import State
from worker.listings.repository import Listings
from worker.listings.updates import ListingUpdates

_CHANGES = [name for name, operation in OPERATIONS.items() if operation.is_change]
_READS = [name for name, operation in OPERATIONS.items() if not operation.is_change]
#: What makes a difference to reads that a call of the list above does not make.
_MORE = {
    "delete_policy": {"policy": "unused"},
    "restrict_volume": {"volume": "vol"},
    "remove_lock": {"volume": "vol", "host": "h0"},
    "ensure_policy_rule_absent": {"policy": "pol", "rule": "h1"},
}


def _fresh(harness: Harness, name: str, arguments: dict[str, Any]) -> Any:
    """What the storage system returns now; None where the object does not exist."""
    try:
        return orjson.loads(orjson.dumps(OPERATIONS[name].run(harness.backend, arguments, InMemoryJournal())))
    except NotFound:
        return None


def _cached(harness: Harness, name: str, arguments: dict[str, Any]) -> Any:
    """What the cache says; None where it must be read again."""
    resource_type = OPERATIONS[name].reads
    assert resource_type is not None
    parent = resource_type.parent.cache_key(SUBSYSTEM, arguments) if resource_type.parent else ""
    listings = Listings(harness.client, harness.scripts, harness.settings)
    state = listings.listing_state(resource_type, resource_type.cache_key(SUBSYSTEM, arguments), parent)
    listing = listings.load(state.listing_version) if state.usable and state.listing_version else None
    if listing is None:
        return None
    return listing.records[0] if resource_type.single and listing.records else listing.records


@pytest.mark.parametrize("change", _CHANGES)
def test_after_each_change_every_cached_listing_is_right(harness: Harness, change: str):
    node = harness.node()
    harness.backend.create_snapshot("vol", "later", journal=InMemoryJournal())
    harness.backend.create_policy("unused", rules=["h1"], journal=InMemoryJournal())
    reads = [(name, CALLS[name]) for name in _READS]
    reads += [("get_policy", {"policy": "unused"}), ("get_snapshot", {"volume": "vol", "name": "later"})]
    for name, arguments in reads:
        node.carry_out(harness.accept(name, **arguments))
        assert _cached(harness, name, arguments) == _fresh(harness, name, arguments)
    job_id = harness.accept(change, **_MORE.get(change, CALLS[change]))
    node.carry_out(job_id)
    assert harness.job(job_id).state is State.SUCCEEDED
    for name, arguments in reads:
        cached = _cached(harness, name, arguments)
        assert cached is None or cached == _fresh(harness, name, arguments), (name, arguments)


@pytest.mark.parametrize("change", ["roll_back_volume", "restrict_volume", "reinstate_volume"])
def test_contents_of_a_volume_are_read_anew_after(harness: Harness, change: str):
    """A storage system may break locks with such a change, and somebody else may have restricted the volume before."""
    node, reads = harness.node(), ("list_snapshots", "list_locks")
    for read in reads:
        node.carry_out(harness.accept(read, volume="vol"))
    if change == "reinstate_volume":
        harness.backend.restrict_volume("vol", journal=InMemoryJournal())
    node.carry_out(harness.accept(change, **CALLS[change] | {"volume": "vol"}))
    assert [_cached(harness, read, CALLS[read]) for read in reads] == [None, None]


def test_a_snapshot_that_was_purged_is_in_no_listing(harness: Harness):
    node = harness.node()
    for read in ("list_snapshots", "get_snapshot"):
        node.carry_out(harness.accept(read))
    original = harness.backend.create_snapshot

    def purging(volume: str, name: str, *, purge_old_if_needed: bool = False, journal: Any) -> Any:
        assert purge_old_if_needed
        harness.backend.delete_snapshot(volume, "snap", journal=InMemoryJournal())
        return original(volume, name, journal=journal)

    harness.backend.create_snapshot = purging  # type: ignore[method-assign]
    node.carry_out(harness.accept("create_snapshot", volume="vol", name="new", purge_old_if_needed=True))
    for read in ("list_snapshots", "get_snapshot"):
        assert _cached(harness, read, CALLS[read]) is None


def _order(operation: str, **arguments: Any) -> dict[str, Any]:
    fields = ordering_keys(OPERATIONS[operation], SUBSYSTEM, arguments)
    return {name: json.loads(text) if text.startswith("[") else text for name, text in fields.items()}


@pytest.mark.parametrize(
    ("operation", "arguments", "order"),
    [
        ("list_volumes", {}, {"keys": ["read:filer/volumes"], "references": "", "behind_paths": ""}),
        (
            "list_snapshots", {"volume": "n:/Vol"},
            {"keys": ["read:filer/volumes/n:/Vol/snapshots"], "references": ["volume"], "behind_paths": ""},
        ),
        ("update_volume", {"volume": "v"}, {"keys": ["volume:v"], "references": "", "behind_paths": "1"}),
        ("update_volume", {"volume": "n:/V"}, {"keys": ["path:/v"], "references": ["volume"], "behind_paths": "1"}),
        ("create_volume", {"volume": "v"}, {"keys": ["path:/v", "volume:v"], "references": "", "behind_paths": "1"}),
        (
            "create_volume", {"volume": "v", "junction_path": "/A/B"},
            {"keys": ["path:/a/b", "volume:v"], "references": "", "behind_paths": "1"},
        ),
        (
            "clone_volume", {"volume": "c", "from_volume": "n:/v", "from_snapshot": "s"},
            {
                "keys": ["path:/c", "path:/v", "volume:c"], "changed": ["path:/c", "volume:c"],
                "references": ["from_volume"], "behind_paths": "1",
            },
        ),
        (
            "reinstate_volume", {"volume": "v", "junction_path": "/back"},
            {"keys": ["path:/back", "volume:v"], "references": "", "behind_paths": "1"},
        ),
        ("delete_policy", {"policy": "p:/x"}, {"keys": ["policy:p:/x"], "references": "", "behind_paths": ""}),
    ],
)  # fmt: skip
def test_the_ordering_keys_of_each_operation(operation: str, arguments: dict[str, Any], order: dict[str, Any]):
    assert _order(operation, **arguments) == order


def test_the_status_of_each_success():
    created = {
        "create_volume", "clone_volume", "roll_back_volume", "create_snapshot", "create_lock", "create_policy",
        "ensure_policy_rule_present",
    }  # fmt: skip
    without_body = {
        "restrict_volume", "delete_snapshot", "remove_lock", "delete_policy", "ensure_policy_rule_absent",
    }  # fmt: skip
    statuses = {name: int(success_status(operation)) for name, operation in OPERATIONS.items()}
    assert {name for name, status in statuses.items() if status == 201} == created
    assert {name for name, status in statuses.items() if status == 204} == without_body
    assert set(statuses.values()) == {200, 201, 204}
    assert created - RETURNS_LOCATION == {"create_lock", "ensure_policy_rule_present"}


def _after_partial_failure(harness: Harness, name: str, **arguments: Any) -> dict[str, tuple[str, str, Any]]:
    """By cache key: the step, the record's key, and the record."""
    updates = ListingUpdates(Listings(harness.client, harness.scripts, harness.settings))
    steps = updates.after_partial_failure(OPERATIONS[name], SUBSYSTEM, arguments, harness.backend, InMemoryJournal())
    assert {step["keep_ms"] for step in steps} == {harness.settings.cache_keep * 1000}
    return {
        step["cache_key"]: (step["what"], step["key"], step["record"] and orjson.loads(step["record"]))
        for step in steps
    }


def test_after_a_partial_failure_listings_are_read_again(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    assert _after_partial_failure(harness, "update_volume", volume="vol") == {
        "filer/volumes": ("upsert", "vol", _fresh(harness, "get_volume", {"volume": "vol"})),
        "filer/volumes/vol": ("invalidate", "", ""),
    }
    assert _after_partial_failure(harness, "roll_back_volume", volume="none") == {
        "filer/volumes": ("delete", "none", ""), "filer/volumes/none": ("invalidate", "", ""),
        "filer/volumes/none/snapshots": ("invalidate", "", ""), "filer/volumes/none/locks": ("invalidate", "", ""),
    }  # fmt: skip
    for policy, step in (
        ("pol", ("upsert", "pol", {"name": "pol", "rules": ["h1"]})),
        ("none", ("delete", "none", "")),
    ):
        assert _after_partial_failure(harness, "ensure_policy_rule_present", policy=policy) == {
            "filer/export": step, f"filer/export/{policy}": ("invalidate", "", ""),
        }  # fmt: skip

    def away(*_: Any, **__: Any) -> None:
        raise BackendUnavailable("away")

    monkeypatch.setattr(harness.backend, "get_volume", away)
    assert _after_partial_failure(harness, "update_volume", volume="vol") == {
        "filer/volumes": ("invalidate", "", ""), "filer/volumes/vol": ("invalidate", "", ""),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("purge", "extra"), [({}, 0), ({"purge_old_if_needed": False}, 0), ({"purge_old_if_needed": True}, 1)]
)
def test_snapshots_are_listed_again_only_where_one_may_have_been_purged(
    harness: Harness, purge: dict[str, bool], extra: int
):
    updates = ListingUpdates(Listings(harness.client, harness.scripts, harness.settings))
    snapshot = harness.backend.get_snapshot("vol", "snap", journal=InMemoryJournal())
    arguments = {"volume": "vol", "name": "snap"} | purge
    steps = updates.after_success(OPERATIONS["create_snapshot"], SUBSYSTEM, arguments, snapshot)
    assert [step["what"] for step in steps] == ["upsert", "upsert", *["invalidate"] * extra]
