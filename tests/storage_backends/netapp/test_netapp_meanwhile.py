"""Other clients change the same object meanwhile: nothing is deleted needlessly, and the reported outcome is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import BackendUnavailable, NoSuchVolume, OutcomeUnclear, ResourceBusy, StorageError
from storage_backends.journal import Cancelled, InMemoryJournal
from tests.ontap_simulator import Kind, Simulator
from tests.ontap_simulator.exchange import Request
from tests.storage_backends.netapp.changes import STEPS, attempt, furnish, settled
from tests.storage_backends.netapp.concurrent_changes import before_each
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.fixture
def backend(ontap: Simulator) -> StorageBackend:
    furnish(ontap)
    return open_backend(ontap)


def snapshots_of(ontap: Simulator, volume: str) -> list[str]:
    """The names of a simulated volume's snapshots."""
    (uuid,) = (record["uuid"] for record in ontap.world.volumes.values() if record["name"] == volume)
    return [record["name"] for record in ontap.world.snapshots[uuid].values()]


class _Cancelling(InMemoryJournal):
    """Requests a cancellation as soon as the filer has named a job that can be cancelled."""

    @property
    def cancel_requested(self) -> bool:
        return self.uuid is not None


class TestSnapshots:
    """Nothing is deleted needlessly, whatever others do."""

    def test_a_snapshot_deleted_by_others_frees_a_place(self, backend: StorageBackend, ontap: Simulator) -> None:
        def faster(request: Request) -> None:
            if request.method == "DELETE":
                for snapshots in ontap.world.snapshots.values():
                    snapshots.pop(request.path.rpartition("/")[2], None)

        before_each(ontap, faster)

        assert attempt(backend, "purge")[1] is None
        assert snapshots_of(ontap, "full") == ["two", "nearly", "three"]

    @pytest.mark.parametrize(("fault", "more"), [(Kind.REFUSE, {"status": 409}), (Kind.JOB_FAILS, {})])
    def test_a_newer_one_is_not_purged_while_the_oldest_is_busy(
        self, fault: Kind, more: dict[str, Any], backend: StorageBackend, ontap: Simulator
    ) -> None:
        ontap.fault(fault, method="DELETE", code=13107406, **more)

        error = attempt(backend, "purge")[1]

        assert isinstance(error, ResourceBusy)
        assert error.transient  # The service tries again.
        assert snapshots_of(ontap, "full") == ["one", "two", "nearly"]

    def test_times_are_compared_by_value(self, backend: StorageBackend, ontap: Simulator) -> None:
        volume = ontap.world.add_volume("old")
        ontap.world.add_snapshot(volume, "later", create_time="2024-01-03T00:30:00+00:00")
        ontap.world.add_snapshot(volume, "earlier", create_time="2024-01-03T01:00:00+02:00")

        names = [snapshot.name for snapshot in backend.list_snapshots("old", journal=InMemoryJournal())]

        assert names == ["earlier", "later"]

    def test_a_cancelled_snapshot_that_exists_is_not_reported_as_cancelled(
        self, backend: StorageBackend, ontap: Simulator
    ) -> None:
        ontap.world.job_seconds = 30

        def made(request: Request) -> None:
            if request.method == "PATCH" and request.path.startswith("/cluster/jobs/"):
                volume = next(iter(ontap.world.volumes.values()))
                ontap.world.add_snapshot(volume, "three")

        before_each(ontap, made)
        with pytest.raises(StorageError) as failure:
            backend.create_snapshot("home", "three", journal=_Cancelling())
        assert not isinstance(failure.value, OutcomeUnclear)

    def test_a_cancelled_one_on_a_filer_that_falls_silent_is_in_doubt(self, ontap: Simulator) -> None:
        furnish(ontap)
        ontap.world.job_seconds = 30
        ontap.fault(Kind.HANG, method="GET", path=".*/snapshots", times=9)

        with pytest.raises(OutcomeUnclear, match="was cancelled"):
            open_backend(ontap, timeout_s=0.2).create_snapshot("home", "three", journal=_Cancelling())

    def test_a_snapshot_lost_with_its_vserver_is_not_reported_as_missing(
        self, backend: StorageBackend, ontap: Simulator
    ) -> None:
        def lost(request: Request) -> None:
            if request.path.endswith("/snapshots"):
                ontap.world.volumes.clear()
                ontap.world.vservers["vs1"] = "stopped"

        before_each(ontap, lost)
        with pytest.raises(BackendUnavailable):
            backend.list_snapshots("home", journal=InMemoryJournal())

    def test_snapshots_of_a_volume_deleted_meanwhile_are_missing(
        self, backend: StorageBackend, ontap: Simulator
    ) -> None:
        def gone(request: Request) -> None:
            if request.path.endswith("/snapshots"):
                ontap.world.volumes.clear()

        before_each(ontap, gone)
        with pytest.raises(NoSuchVolume):
            backend.list_snapshots("home", journal=InMemoryJournal())

    def test_after_a_purge_a_creation_is_not_cancelled(self, backend: StorageBackend, ontap: Simulator) -> None:
        """A snapshot is gone: "nothing was done" would not be true."""

        def slow(request: Request) -> None:
            ontap.world.job_seconds = 30 if snapshots_of(ontap, "full") == ["two", "nearly"] else 0

        before_each(ontap, slow)
        with pytest.raises(StorageError) as failure:
            backend.create_snapshot("full", "three", journal=_Cancelling(), purge_old_if_needed=True)
        assert failure.value.detail.startswith("The change was made in part; ")


class TestLocks:
    def test_a_lock_released_by_its_client_counts_as_removed(self, backend: StorageBackend, ontap: Simulator) -> None:
        gone: list[Any] = []

        def given_up(request: Request) -> None:
            if request.method == "DELETE" and not gone:
                gone.append(ontap.world.locks.pop(request.path.rpartition("/")[2]))

        before_each(ontap, given_up)

        assert attempt(backend, "break locks")[1] is None
        assert len(ontap.changes_sent()) == STEPS["break locks"]
        hosts = [lock.host for lock in backend.list_locks("home", journal=InMemoryJournal())]
        assert hosts == ["192.0.2.2"]

    @pytest.mark.parametrize("first", ["GET", "DELETE"])
    @pytest.mark.parametrize("what", ["list_locks", "remove_lock"])
    def test_locks_of_a_missing_vserver_do_not_count_as_removed(
        self, first: str, what: str, backend: StorageBackend, ontap: Simulator
    ) -> None:
        def gone(request: Request) -> None:
            if request.path.startswith("/protocols/locks") and request.method == first:
                ontap.world.vservers["vs1"] = "stopped"
                ontap.world.locks.clear()

        before_each(ontap, gone)
        arguments = ("home", "192.0.2.1") if what == "remove_lock" else ("home",)
        if (what, first) == ("list_locks", "DELETE"):
            assert len(backend.list_locks("home", journal=InMemoryJournal())) == 2
            return
        with pytest.raises(BackendUnavailable):
            getattr(backend, what)(*arguments, journal=InMemoryJournal())


def test_a_copy_is_made_of_no_other_volume(backend: StorageBackend, ontap: Simulator) -> None:
    """The parent is renamed, and another volume gets its name."""

    def renamed(request: Request) -> None:
        if request.method == "POST":
            next(iter(ontap.world.volumes.values()))["name"] = "former"
            ontap.world.add_snapshot(ontap.world.add_volume("home"), "one")

    before_each(ontap, renamed)

    assert isinstance(attempt(backend, "clone")[1], StorageError)
    assert ontap.world.effects == []


def test_a_cancelled_job_of_the_filer_is_waited_for(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.world.job_seconds = 30
    with pytest.raises(Cancelled):
        backend.create_snapshot("home", "three", journal=_Cancelling())
    assert [job.code for job in ontap.world.jobs.values()] == [458756]


class TestCachingPolicies:
    """They are set by the volume's name, which somebody else may change."""

    def test_a_volume_renamed_before_the_step_gets_its_caching_policy(
        self, backend: StorageBackend, ontap: Simulator
    ) -> None:
        home, full = _swap_names(ontap, lambda request: "size" in (request.body or {}))

        assert attempt(backend, "update in two steps")[1] is None
        assert [volume["flash_pool"]["caching_policy"] for volume in (home, full)] == ["all", "auto"]

    def test_a_volume_renamed_during_the_step_is_no_success(
        self, backend: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storage_backends.netapp.reconciliation.reconcile.VISIBLE_S", 0.0)
        _swap_names(ontap, lambda request: "private" in request.path)
        _, error, lost = attempt(backend, "caching")

        assert isinstance(error, OutcomeUnclear)
        assert "renamed at that moment" in error.detail
        assert settled(backend, "caching", lost) is Outcome.UNKNOWN


def _swap_names(ontap: Simulator, when: Callable[[Request], bool]) -> list[dict[str, Any]]:
    """Let somebody give the name of one volume to another before a request; return both."""
    home, full = (next(v for v in ontap.world.volumes.values() if v["name"] == name) for name in ("home", "full"))

    def swap(request: Request) -> None:
        if when(request) and home["name"] == "home":
            home["name"], full["name"] = "moved", "home"

    before_each(ontap, swap)
    return [home, full]
