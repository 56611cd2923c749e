"""What every driver must do with volumes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storage_backends.base import StorageBackend
from storage_backends.errors import AlreadyExists, InvalidRequest, NoSuchSnapshot, NoSuchVolume
from storage_backends.models import Volume
from tests.storage_backends.conformance.subject import MIB, PATTERNS, Conformance, NewJournal, names

#: Two values of each setting that is a text.
MORE_SETTINGS: dict[str, tuple[str, str]] = {
    "snapshot_policy": ("none", "default"),
    "security_style": ("mixed", "ntfs"),
    "unix_permissions": ("0750", "0007"),
    "space_guarantee": ("volume", "none"),
    "qos_policy": ("gold", "silver"),
    "tiering_policy": ("snapshot-only", "all"),
    "comment": ('Run 3: "raw" data', "by job: nobody"),
}


class VolumeConformance(Conformance):
    """Volumes: made, found by name and path, changed, copied, put back, taken out of service."""

    def near(self, size_bytes: int) -> Any:
        return pytest.approx(size_bytes, abs=self.size_tolerance_bytes, rel=0)

    def test_a_new_volume_is_listed_and_found(self, backend: StorageBackend, journal: NewJournal) -> None:
        made = backend.create_volume("home", journal=journal(), junction_path="/home", size_total=100 * MIB)

        assert (made.name, made.junction_path, made.state) == ("home", "/home", "online")
        assert backend.get_volume("home", journal=journal()) == made
        assert made in backend.list_volumes(journal=journal())

    def test_settings_are_read_back(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["192.0.2.0/24"])

        backend.create_volume(
            "home",
            journal=journal(),
            junction_path="/home",
            size_total=100 * MIB,
            autosize_enabled=True,
            max_autosize=300 * MIB,
            percentage_snapshot_reserve=10,
            active_policy_name="team",
        )

        volume = backend.get_volume("home", journal=journal())
        assert volume.size_total == self.near(100 * MIB)
        assert volume.autosize_enabled is True
        assert volume.percentage_snapshot_reserve == 10
        assert volume.active_policy_name == "team"
        assert volume.max_autosize is not None
        assert volume.max_autosize >= 300 * MIB - self.size_tolerance_bytes

    def test_a_new_volume_knows_when_and_where(self, backend: StorageBackend, home: Volume) -> None:
        assert home.uuid
        assert home.aggregate_name
        assert home.creation_time
        assert home.creation_time.endswith("Z")

    def test_volumes_are_found_by_path_on_any_node(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        for reference in ("filer01:/users/home", ":/users/home"):
            assert backend.get_volume(reference, journal=journal()) == home

    def test_a_part_of_a_path_is_no_path(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        for reference in ("filer01:/users", ":/home", ":/users/home/more", ":/users/*", ":/users/hom"):
            with pytest.raises(NoSuchVolume):
                backend.get_volume(reference, journal=journal())

    def test_patterns_match_no_volume(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        for name in PATTERNS:
            with pytest.raises(NoSuchVolume):
                backend.get_volume(name, journal=journal())
            with pytest.raises(NoSuchVolume):
                backend.update_volume(name, journal=journal(), size_total=200 * MIB)
            with pytest.raises(NoSuchVolume):
                backend.restrict_volume(name, journal=journal())
        assert backend.get_volume("home", journal=journal()) == home

    def test_a_taken_name_is_refused(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        with pytest.raises(AlreadyExists):
            backend.create_volume("home", journal=journal(), junction_path="/other", size_total=100 * MIB)
        assert backend.get_volume("home", journal=journal()) == home

    def test_a_taken_path_is_refused(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        with pytest.raises(AlreadyExists):
            backend.create_volume("other", journal=journal(), junction_path="/users/home", size_total=100 * MIB)
        assert names(backend.list_volumes(journal=journal())).count("other") == 0

    def test_a_policy_that_is_not_there_is_refused(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            backend.create_volume(
                "new", journal=journal(), junction_path="/new", size_total=100 * MIB, active_policy_name="nobody"
            )
        assert [error.pointer for error in refusal.value.errors] == ["/active_policy_name"]
        with pytest.raises(InvalidRequest):
            backend.update_volume("home", journal=journal(), active_policy_name="nobody")
        with pytest.raises(NoSuchVolume):
            backend.get_volume("new", journal=journal())

    def test_an_update_is_read_back(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        changed = backend.update_volume(
            "home", journal=journal(), size_total=200 * MIB, autosize_enabled=False, percentage_snapshot_reserve=20
        )

        assert backend.get_volume("home", journal=journal()) == changed
        assert changed.size_total == self.near(200 * MIB)
        assert changed.autosize_enabled is False
        assert changed.percentage_snapshot_reserve == 20

    def test_an_update_keeps_other_settings(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=[])

        changed = backend.update_volume(":/users/home", journal=journal(), active_policy_name="team")

        assert changed.active_policy_name == "team"
        assert changed.size_total == self.near(home.size_total or 0)
        assert (changed.uuid, changed.junction_path) == (home.uuid, home.junction_path)

    def test_a_restricted_volume_is_not_found(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())

        backend.restrict_volume("home", journal=journal())

        assert "home" not in names(backend.list_volumes(journal=journal()))
        for reference in ("home", ":/users/home"):
            with pytest.raises(NoSuchVolume):
                backend.get_volume(reference, journal=journal())
        with pytest.raises(NoSuchVolume):
            backend.restrict_volume("home", journal=journal())
        with pytest.raises(NoSuchVolume):
            backend.list_snapshots("home", journal=journal())

    def test_a_restricted_volume_frees_its_path_but_not_its_name(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        backend.restrict_volume("home", journal=journal())

        with pytest.raises(AlreadyExists):
            backend.create_volume("home", journal=journal(), junction_path="/users/home", size_total=100 * MIB)
        backend.create_volume("next", journal=journal(), junction_path="/users/home", size_total=100 * MIB)

    def test_a_new_volume_is_mounted_at_its_name(self, backend: StorageBackend, journal: NewJournal) -> None:
        assert backend.create_volume("work", journal=journal()).junction_path == "/work"
        backend.create_volume("other", journal=journal(), junction_path="/home")
        with pytest.raises(AlreadyExists):
            backend.create_volume("home", journal=journal())

    def test_further_settings_are_changed_one_by_one(self, backend: StorageBackend, journal: NewJournal) -> None:
        expected = backend.create_volume("home", journal=journal())
        for setting, values in MORE_SETTINGS.items():
            for value in values:
                change: Any = {setting: value}
                expected = replace(expected, **change)
                assert backend.update_volume("home", journal=journal(), **change) == expected
        assert backend.get_volume("home", journal=journal()) == expected
        assert [v for v in backend.list_volumes(journal=journal()) if v.name == "home"] == [expected]

    def test_further_settings_are_set_on_creation(self, backend: StorageBackend, journal: NewJournal) -> None:
        settings: Any = {setting: values[0] for setting, values in MORE_SETTINGS.items()}
        made = backend.create_volume("home", journal=journal(), **settings)
        assert {setting: getattr(made, setting) for setting in settings} == settings
        assert made.type == "rw"

    def test_a_qos_policy_is_removed(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_volume("home", journal=journal(), qos_policy="gold")
        assert backend.update_volume("home", journal=journal(), qos_policy="none").qos_policy is None
        assert backend.create_volume("work", journal=journal(), qos_policy="none").qos_policy is None

    @pytest.mark.parametrize("length", [900, 1023])
    def test_a_comment_reads_back_whole(self, length: int, backend: StorageBackend, journal: NewJournal) -> None:
        comment = ("Run 3 é " * 128)[:length]
        assert backend.create_volume("home", journal=journal(), comment=comment).comment == comment
        assert backend.get_volume("home", journal=journal()).comment == comment
        assert backend.update_volume("home", journal=journal(), comment="short").comment == "short"
        assert backend.update_volume("home", journal=journal(), comment="").comment == ""

    def test_a_restricted_volume_may_return(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())
        assert backend.list_restricted_volumes(journal=journal()) == []
        backend.restrict_volume("home", journal=journal())
        (out,) = backend.list_restricted_volumes(journal=journal())
        assert (out.name, out.uuid, out.state, out.junction_path) == ("home", home.uuid, "restricted", None)

        back = backend.reinstate_volume("home", journal=journal(), junction_path="/users/home")

        assert (back.state, back.junction_path, back.uuid) == ("online", "/users/home", home.uuid)
        assert backend.get_volume(":/users/home", journal=journal()) == back
        assert names(backend.list_snapshots("home", journal=journal())) == ["before"]
        assert backend.list_restricted_volumes(journal=journal()) == []

    def test_a_reinstated_volume_has_its_name(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.restrict_volume("home", journal=journal())
        assert backend.reinstate_volume("home", journal=journal()).junction_path == "/home"

    def test_only_a_restricted_volume_is_reinstated(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        for name in ("home", "nothing", "*", "hom*"):
            with pytest.raises(NoSuchVolume):
                backend.reinstate_volume(name, journal=journal())
        backend.restrict_volume("home", journal=journal())
        backend.create_volume("next", journal=journal(), junction_path="/home")
        with pytest.raises(AlreadyExists):
            backend.reinstate_volume("home", journal=journal())
        assert names(backend.list_restricted_volumes(journal=journal())) == ["home"]

    def test_a_clone_may_have_other_settings(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())
        backend.create_policy("team", journal=journal(), rules=[])

        clone = backend.clone_volume(
            "copy",
            journal=journal(),
            from_volume="home",
            from_snapshot="before",
            active_policy_name="team",
            size_total=300 * MIB,
        )

        assert (clone.active_policy_name, clone.junction_path) == ("team", "/copy")
        assert clone.size_total == self.near(300 * MIB)
        assert backend.get_volume(":/copy", journal=journal()) == clone

    def test_a_volume_that_is_not_there(self, backend: StorageBackend, journal: NewJournal) -> None:
        for call in (
            lambda: backend.get_volume("nothing", journal=journal()),
            lambda: backend.update_volume("nothing", journal=journal(), size_total=200 * MIB),
            lambda: backend.restrict_volume("nothing", journal=journal()),
            lambda: backend.roll_back_volume("nothing", journal=journal(), from_snapshot="s"),
            lambda: backend.clone_volume("new", journal=journal(), from_volume="nothing", from_snapshot="s"),
        ):
            with pytest.raises(NoSuchVolume):
                call()

    def test_a_listing_counts_what_it_read(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        watched = journal()

        listed = backend.list_volumes(journal=watched)

        assert watched.progress_calls[-1][0] == len(listed)

    def test_a_clone_is_a_volume_of_its_own(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())

        clone = backend.clone_volume(
            "copy", journal=journal(), from_volume="home", from_snapshot="before", junction_path="/copy"
        )
        backend.update_volume("copy", journal=journal(), size_total=200 * MIB)

        assert (clone.name, clone.junction_path, clone.state) == ("copy", "/copy", "online")
        assert clone.uuid != home.uuid
        assert backend.get_volume("home", journal=journal()).size_total == self.near(100 * MIB)

    def test_a_clone_needs_a_snapshot_and_a_free_name(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        backend.create_snapshot("home", "before", journal=journal())
        with pytest.raises(NoSuchSnapshot):
            backend.clone_volume(
                "copy", journal=journal(), from_volume="home", from_snapshot="never", junction_path="/copy"
            )
        with pytest.raises(AlreadyExists):
            backend.clone_volume(
                "home", journal=journal(), from_volume="home", from_snapshot="before", junction_path="/copy"
            )
        with pytest.raises(AlreadyExists):
            backend.clone_volume(
                "copy", journal=journal(), from_volume="home", from_snapshot="before", junction_path="/users/home"
            )

    def test_rolling_back_drops_later_snapshots(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        for name in ("first", "second", "third"):
            backend.create_snapshot("home", name, journal=journal())

        volume = backend.roll_back_volume("home", journal=journal(), from_snapshot="first")

        assert (volume.name, volume.uuid, volume.junction_path) == (home.name, home.uuid, home.junction_path)
        assert names(backend.list_snapshots("home", journal=journal())) == ["first"]

    def test_rolling_back_needs_the_snapshot(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())
        for name in ("never", "*", "befor*"):
            with pytest.raises(NoSuchSnapshot):
                backend.roll_back_volume("home", journal=journal(), from_snapshot=name)
