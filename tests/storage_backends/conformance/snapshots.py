"""What every driver must do with snapshots."""

from __future__ import annotations

import pytest

from storage_backends.base import StorageBackend
from storage_backends.errors import AlreadyExists, NoSuchSnapshot, NoSuchVolume, TooManySnapshots
from storage_backends.models import Volume
from tests.storage_backends.conformance.subject import MIB, Conformance, NewJournal, names


class SnapshotConformance(Conformance):
    """Snapshots of a volume."""

    def test_a_new_volume_has_none(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        assert backend.list_snapshots("home", journal=journal()) == []

    def test_a_new_snapshot_is_listed_and_found(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        made = backend.create_snapshot("home", "before", journal=journal())

        assert made.name == "before"
        assert made.creation_time
        assert made.creation_time.endswith("Z")
        assert backend.get_snapshot(":/users/home", "before", journal=journal()).name == "before"
        assert names(backend.list_snapshots("home", journal=journal())) == ["before"]

    def test_they_are_listed_oldest_first(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        for name in ("zulu", "alpha", "mike"):
            backend.create_snapshot("home", name, journal=journal())

        assert names(backend.list_snapshots("home", journal=journal())) == ["zulu", "alpha", "mike"]

    def test_a_taken_name_is_refused(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())
        with pytest.raises(AlreadyExists):
            backend.create_snapshot("home", "before", journal=journal())
        with pytest.raises(AlreadyExists):
            backend.create_snapshot("home", "before", journal=journal(), purge_old_if_needed=True)

    def test_a_deleted_snapshot_is_gone(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())

        backend.delete_snapshot("home", "before", journal=journal())

        assert backend.list_snapshots("home", journal=journal()) == []
        with pytest.raises(NoSuchSnapshot):
            backend.get_snapshot("home", "before", journal=journal())
        with pytest.raises(NoSuchSnapshot):
            backend.delete_snapshot("home", "before", journal=journal())

    def test_patterns_match_no_snapshot(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        for name in ("before", "after"):
            backend.create_snapshot("home", name, journal=journal())
        for pattern in ("*", "befor*", "before|after", "!after", '"before"', "BEFORE", "a..z", "null"):
            with pytest.raises(NoSuchSnapshot):
                backend.get_snapshot("home", pattern, journal=journal())
            with pytest.raises(NoSuchSnapshot):
                backend.delete_snapshot("home", pattern, journal=journal())
        assert names(backend.list_snapshots("home", journal=journal())) == ["before", "after"]

    def test_a_name_may_hold_what_the_contract_allows(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        backend.create_snapshot("home", "2017-08-10T12:00:00+02.a_b", journal=journal())

        snapshot = backend.get_snapshot("home", "2017-08-10T12:00:00+02.a_b", journal=journal())
        assert snapshot.name == "2017-08-10T12:00:00+02.a_b"

    def test_volumes_do_not_share_snapshots(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_volume("work", journal=journal(), junction_path="/work", size_total=100 * MIB)
        backend.create_snapshot("home", "before", journal=journal())

        assert backend.list_snapshots("work", journal=journal()) == []

    def test_beyond_the_limit_the_oldest_is_purged_or_the_creation_refused(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        if self.snapshot_limit is None:
            pytest.skip("this back-end's limit is too high to try")
        made = [f"s{number}" for number in range(self.snapshot_limit)]
        for name in made:
            backend.create_snapshot("home", name, journal=journal(), purge_old_if_needed=True)
        assert names(backend.list_snapshots("home", journal=journal())) == made

        with pytest.raises(TooManySnapshots):
            backend.create_snapshot("home", "last", journal=journal())
        backend.create_snapshot("home", "last", journal=journal(), purge_old_if_needed=True)

        assert names(backend.list_snapshots("home", journal=journal())) == [*made[1:], "last"]

    def test_a_volume_that_is_not_there(self, backend: StorageBackend, journal: NewJournal) -> None:
        for call in (
            lambda: backend.list_snapshots("nothing", journal=journal()),
            lambda: backend.get_snapshot("nothing", "s", journal=journal()),
            lambda: backend.create_snapshot("nothing", "s", journal=journal()),
            lambda: backend.delete_snapshot("nothing", "s", journal=journal()),
        ):
            with pytest.raises(NoSuchVolume):
                call()
