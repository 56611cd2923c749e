"""DummyStorage: what every driver must do, and the semantics that only it can show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage_backends.base import StorageBackend
from storage_backends.dummy import DummyStorage
from storage_backends.errors import (
    AlreadyExists,
    InvalidRequest,
    NoSuchSnapshot,
    NoSuchVolume,
    NotADataVolume,
    PolicyInUse,
    StorageError,
    TooManySnapshots,
)
from storage_backends.journal import InMemoryJournal, LeaseLost
from tests.storage_backends.conformance import (
    MIB,
    Conformance,
    ExportConformance,
    KilledJournal,
    LockConformance,
    SettleConformance,
    SnapshotConformance,
    VolumeConformance,
)
from tests.storage_backends.conftest import OpenDummy


class OfDummy(Conformance):
    size_tolerance_bytes = 0
    snapshot_limit = 4

    @pytest.fixture
    def backend(self, open_dummy: OpenDummy) -> StorageBackend:
        return open_dummy()


class TestVolumes(OfDummy, VolumeConformance):
    pass


class TestSnapshots(OfDummy, SnapshotConformance):
    @pytest.mark.parametrize("purge", [False, True])
    def test_with_a_limit_of_0_no_snapshot_is_made(self, purge: bool, open_dummy: OpenDummy) -> None:
        backend = open_dummy(snapshot_limit=0)
        backend.create_volume("home", journal=InMemoryJournal())
        with pytest.raises(TooManySnapshots):
            backend.create_snapshot("home", "s", journal=InMemoryJournal(), purge_old_if_needed=purge)
        assert backend.list_snapshots("home", journal=InMemoryJournal()) == []


class TestLocks(OfDummy, LockConformance):
    pass


class TestExports(OfDummy, ExportConformance):
    pass


class TestSettling(OfDummy, SettleConformance):
    def test_a_change_settled_as_not_done_is_never_made(self, backend: StorageBackend) -> None:
        killed = KilledJournal("job")
        with pytest.raises(LeaseLost):
            backend.create_policy("team", journal=killed, rules=[])
        backend.reconcile("create_policy", {}, killed.state(), journal=InMemoryJournal())

        with pytest.raises(LeaseLost):
            backend.create_policy("team", journal=InMemoryJournal("job"), rules=[])

        assert [policy.name for policy in backend.list_policies(journal=InMemoryJournal())] == ["default"]

    def test_a_repeated_job_returns_the_same_result(self, backend: StorageBackend) -> None:
        first = backend.create_volume("home", journal=InMemoryJournal("job"))

        assert backend.create_volume("home", journal=InMemoryJournal("job")) == first

    def test_a_job_cannot_make_two_kinds_of_change(self, backend: StorageBackend) -> None:
        backend.create_volume("home", journal=InMemoryJournal("job"))
        with pytest.raises(StorageError):
            backend.restrict_volume("home", journal=InMemoryJournal("job"))

    def test_a_refused_change_may_be_repeated_by_the_same_job(self, backend: StorageBackend) -> None:
        with pytest.raises(NoSuchVolume):
            backend.create_lock("home", "db01", journal=InMemoryJournal("job"))
        backend.create_volume("home", journal=InMemoryJournal())

        assert backend.create_lock("home", "db01", journal=InMemoryJournal("job")).host == "db01"


def journal() -> InMemoryJournal:
    return InMemoryJournal()


class TestRollingBack(OfDummy):
    def test_roll_back_restores_the_settings(self, backend: StorageBackend) -> None:
        before = backend.create_volume("home", journal=journal(), size_total=100 * MIB)
        backend.create_snapshot("home", "before", journal=journal())
        backend.create_policy("team", journal=journal(), rules=[])
        backend.update_volume(
            "home", journal=journal(), size_total=200 * MIB, autosize_enabled=False, active_policy_name="team"
        )

        assert backend.roll_back_volume("home", journal=journal(), from_snapshot="before") == before
        assert backend.get_volume("home", journal=journal()) == before

    def test_roll_back_keeps_the_present_junction_path(self, backend: StorageBackend) -> None:
        backend.create_volume("home", journal=journal())
        backend.create_snapshot("home", "before", journal=journal())
        backend.restrict_volume("home", journal=journal())
        backend.reinstate_volume("home", journal=journal(), junction_path="/elsewhere")

        rolled_back = backend.roll_back_volume("home", journal=journal(), from_snapshot="before")

        assert rolled_back.junction_path == "/elsewhere"

    def test_roll_back_keeps_the_policy_when_the_old_one_was_deleted(self, backend: StorageBackend) -> None:
        backend.create_policy("old", journal=journal(), rules=[])
        backend.create_volume("home", journal=journal(), active_policy_name="old")
        backend.create_snapshot("home", "before", journal=journal())
        backend.create_policy("new", journal=journal(), rules=[])
        backend.update_volume("home", journal=journal(), active_policy_name="new")
        backend.delete_policy("old", journal=journal())

        volume = backend.roll_back_volume("home", journal=journal(), from_snapshot="before")

        assert volume.active_policy_name == "new"

    def test_a_deleted_policy_is_replaced_by_the_default(self, backend: StorageBackend) -> None:
        backend.create_policy("old", journal=journal(), rules=[])
        for name in ("home", "out"):
            backend.create_volume(name, journal=journal(), active_policy_name="old")
        backend.create_snapshot("home", "before", journal=journal())
        backend.update_volume("home", journal=journal(), active_policy_name="default")
        backend.restrict_volume("out", journal=journal())
        backend.delete_policy("old", journal=journal())

        clone = backend.clone_volume("copy", journal=journal(), from_volume="home", from_snapshot="before")

        assert clone.active_policy_name == "default"
        assert backend.reinstate_volume("out", journal=journal()).active_policy_name == "default"

    def test_a_clone_is_of_the_snapshot_not_of_the_present(self, backend: StorageBackend) -> None:
        before = backend.create_volume("home", journal=journal(), size_total=100 * MIB)
        backend.create_snapshot("home", "before", journal=journal())
        backend.update_volume("home", journal=journal(), size_total=200 * MIB)

        clone = backend.clone_volume("copy", journal=journal(), from_volume="home", from_snapshot="before")

        assert clone.uuid != before.uuid
        expected = replace(before, name="copy", junction_path="/copy", uuid=clone.uuid)
        assert replace(clone, creation_time=None) == replace(expected, creation_time=None)

    def test_a_clone_is_in_service_whatever_its_source_was(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        made_at = "2017-08-10T12:00:00Z"
        (tmp_path / "records.json").write_text(
            json.dumps([{"name": "home", "state": "offline", "creation_time": made_at}])
        )
        backend = open_dummy(volumes=str(tmp_path / "records.json"))
        backend.create_snapshot("home", "before", journal=journal())

        clone = backend.clone_volume("copy", journal=journal(), from_volume="home", from_snapshot="before")

        assert (clone.state, clone.type, clone.junction_path) == ("online", "rw", "/copy")
        assert clone.creation_time is not None
        assert clone.creation_time > made_at


class TestClock(OfDummy):
    def test_snapshots_stay_in_order_when_it_is_set_back(self, backend: StorageBackend) -> None:
        assert isinstance(backend, DummyStorage)
        backend.create_volume("home", journal=journal())
        backend.create_snapshot("home", "first", journal=journal())
        with backend._database.changing() as db:
            db.execute("UPDATE snapshots SET creation_time = '2999-01-01T00:00:00.000000Z'")

        second = backend.create_snapshot("home", "second", journal=journal())

        assert second.creation_time == "2999-01-01T00:00:00.000001Z"


class TestSettings(OfDummy):
    def test_junction_paths_ignore_case(self, backend: StorageBackend) -> None:
        backend.create_volume("other", journal=journal(), junction_path="/HOME")
        assert backend.get_volume(":/home", journal=journal()).name == "other"
        with pytest.raises(AlreadyExists):
            backend.create_volume("home", journal=journal())
        backend.restrict_volume("other", journal=journal())
        backend.create_volume("another", journal=journal(), junction_path="/Home")
        with pytest.raises(AlreadyExists):
            backend.reinstate_volume("other", journal=journal(), junction_path="/hoMe")

    @pytest.mark.parametrize("path", ["/", "home"])
    def test_an_invalid_junction_path_is_refused(self, path: str, backend: StorageBackend) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            backend.create_volume("home", journal=journal(), junction_path=path)
        assert refusal.value.errors[0].pointer == "/junction_path"

    def test_a_limit_below_the_size_is_refused(self, backend: StorageBackend) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            backend.create_volume("home", journal=journal(), size_total=100 * MIB, max_autosize=99 * MIB)
        assert refusal.value.errors[0].pointer == "/max_autosize"
        made = backend.create_volume("home", journal=journal(), size_total=100 * MIB, max_autosize=100 * MIB)
        assert made.max_autosize == 100 * MIB

    def test_a_limit_follows_the_size_unless_it_is_given(self, backend: StorageBackend) -> None:
        backend.create_volume("home", journal=journal(), size_total=100 * MIB)

        assert backend.update_volume("home", journal=journal(), size_total=200 * MIB).max_autosize == 240 * MIB
        with pytest.raises(InvalidRequest):
            backend.update_volume("home", journal=journal(), size_total=300 * MIB, max_autosize=240 * MIB)
        backend.update_volume("home", journal=journal(), autosize_enabled=False, max_autosize=50 * MIB)
        assert backend.update_volume("home", journal=journal(), autosize_enabled=True).max_autosize == 240 * MIB

    def test_a_volume_cannot_become_smaller_than_what_it_holds(self, open_dummy: OpenDummy) -> None:
        backend = open_dummy(volumes=1)
        (volume,) = backend.list_volumes(journal=journal())
        assert volume.size_used
        with pytest.raises(InvalidRequest) as refusal:
            backend.update_volume(volume.name, journal=journal(), size_total=volume.size_used - 1)
        assert [error.pointer for error in refusal.value.errors] == ["/size_total"]
        assert backend.update_volume(volume.name, journal=journal(), size_total=volume.size_used).size_total
        snapshot = backend.create_snapshot(volume.name, "s", journal=journal())
        assert snapshot.size_kbytes == 140 + volume.size_used // 50 // 1024

    def test_a_volume_beyond_its_size_can_still_be_changed(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        (tmp_path / "records.json").write_text(json.dumps([{"name": "full", "size_total": 100, "size_used": 101}]))
        backend = open_dummy(volumes=str(tmp_path / "records.json"))

        assert backend.update_volume("full", journal=journal(), comment="mine").comment == "mine"

    def test_the_default_policy_stays(self, backend: StorageBackend) -> None:
        with pytest.raises(PolicyInUse):
            backend.delete_policy("default", journal=journal())

    def test_a_restricted_volume_does_not_use_its_policy(self, backend: StorageBackend) -> None:
        backend.create_policy("team", journal=journal(), rules=[])
        backend.create_volume("home", journal=journal(), active_policy_name="team")
        backend.restrict_volume("home", journal=journal())

        backend.delete_policy("team", journal=journal())


class TestCopies(OfDummy):
    """Volumes of type dp and ls are listed and never changed."""

    @pytest.mark.parametrize("kind", ["dp", "ls"])
    def test_mirrors_cannot_be_changed(self, kind: str, open_dummy: OpenDummy, tmp_path: Path) -> None:
        records = [{"name": "mirror", "state": "online", "junction_path": "/mirror", "type": kind}]
        (tmp_path / "records.json").write_text(json.dumps(records))
        backend = open_dummy(volumes=str(tmp_path / "records.json"))
        for change in (
            lambda: backend.update_volume("mirror", journal=journal(), comment="mine"),
            lambda: backend.restrict_volume(":/mirror", journal=journal()),
            lambda: backend.roll_back_volume("mirror", journal=journal(), from_snapshot="s"),
            lambda: backend.create_snapshot("mirror", "s", journal=journal()),
            lambda: backend.delete_snapshot("mirror", "s", journal=journal()),
            lambda: backend.create_lock("mirror", "h", journal=journal()),
            lambda: backend.remove_lock("mirror", "h", journal=journal()),
        ):
            with pytest.raises(NotADataVolume):
                change()
        with pytest.raises(NoSuchSnapshot):
            backend.clone_volume("copy", journal=journal(), from_volume="mirror", from_snapshot="s")
        assert backend.list_locks("mirror", journal=journal()) == []
        assert [volume.type for volume in backend.list_volumes(journal=journal())] == [kind]


class TestMoreSettings(OfDummy):
    @pytest.mark.parametrize(
        ("setting", "value"),
        [("security_style", "unified"), ("space_guarantee", "file"), ("tiering_policy", "snapshot_only"),
         ("unix_permissions", "755"), ("unix_permissions", "0888"), ("unix_permissions", "07555"),
         ("comment", "x" * 1024), ("percentage_snapshot_reserve", 101), ("size_total", -1), ("max_autosize", -1),
         ("aggregate_name", "")],
    )  # fmt: skip
    def test_invalid_settings_are_reported(self, setting: str, value: Any, backend: StorageBackend) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            backend.create_volume("home", journal=journal(), **{setting: value})
        assert [error.pointer for error in refusal.value.errors] == [f"/{setting}"]
        full = backend.create_volume("full", journal=journal(), percentage_snapshot_reserve=100)
        assert full.percentage_snapshot_reserve == 100
