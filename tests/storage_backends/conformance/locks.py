"""What every driver must do with locks."""

from __future__ import annotations

import pytest

from storage_backends.base import StorageBackend
from storage_backends.errors import LockHeld, NoSuchVolume, NotSupported
from storage_backends.models import Lock, Volume
from tests.storage_backends.conformance.subject import Conformance, NewJournal


class LockConformance(Conformance):
    """Locks of hosts on a volume."""

    def lock(self, backend: StorageBackend, journal: NewJournal, host: str) -> Lock:
        if not self.can_lock:
            with pytest.raises(NotSupported):
                backend.create_lock("home", host, journal=journal())
            pytest.skip("locks cannot be made from outside here")
        return backend.create_lock("home", host, journal=journal())

    def test_a_new_volume_has_none(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        assert backend.list_locks("home", journal=journal()) == []

    def test_a_lock_is_held_by_its_host(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        assert self.lock(backend, journal, "db01.example.org") == Lock("db01.example.org")
        assert backend.list_locks(":/users/home", journal=journal()) == [Lock("db01.example.org")]

    def test_the_same_host_may_lock_again(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        for _ in range(2):
            self.lock(backend, journal, "db01")
        assert backend.list_locks("home", journal=journal()) == [Lock("db01")]

    @pytest.mark.parametrize(
        ("there", "again", "canonical"),
        [
            ("Db01.Example.org", "DB01.EXAMPLE.ORG", "db01.example.org"),
            ("2001:0DB8::0:1", "2001:db8::1", "2001:db8::1"),
        ],
    )
    def test_every_spelling_is_the_same_host(
        self, there: str, again: str, canonical: str, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        for host in (there, again):
            assert self.lock(backend, journal, host) == Lock(canonical)
        backend.remove_lock("home", again, journal=journal())
        assert backend.list_locks("home", journal=journal()) == []

    def test_another_host_is_refused(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        self.lock(backend, journal, "db01")
        with pytest.raises(LockHeld):
            backend.create_lock("home", "db02", journal=journal())
        assert backend.list_locks("home", journal=journal()) == [Lock("db01")]

    def test_another_may_after_the_removal(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        self.lock(backend, journal, "db01")

        backend.remove_lock("home", "db01", journal=journal())

        assert self.lock(backend, journal, "2001:db8::1") == Lock("2001:db8::1")

    def test_removing_none_succeeds(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.remove_lock("home", "192.0.2.9", journal=journal())

        assert backend.list_locks("home", journal=journal()) == []

    def test_removing_keeps_other_hosts(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        self.lock(backend, journal, "192.0.2.1")
        for host in ("192.0.2.2", "192.0.2.*", "*"):
            backend.remove_lock("home", host, journal=journal())
        assert backend.list_locks("home", journal=journal()) == [Lock("192.0.2.1")]

    def test_a_volume_that_is_not_there(self, backend: StorageBackend, journal: NewJournal) -> None:
        with pytest.raises(NoSuchVolume):
            backend.list_locks("nothing", journal=journal())
        with pytest.raises(NoSuchVolume):
            backend.remove_lock("nothing", "192.0.2.9", journal=journal())
