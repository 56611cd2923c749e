"""What proves that a lost change was made, or was not: not the jobs of others, and not that none can be seen."""

from __future__ import annotations

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import (
    AlreadyExists,
    NoSuchSnapshot,
    NoSuchVolume,
    OutcomeUnclear,
    ResourceBusy,
    StorageError,
    TooManySnapshots,
)
from storage_backends.journal import Cancelled, InMemoryJournal, ShuttingDown
from storage_backends.netapp.reconciliation import reconcile
from tests.ontap_simulator import Kind, Simulator
from tests.ontap_simulator.exchange import Reply
from tests.storage_backends.netapp.changes import CHANGES, attempt, furnish, settled
from tests.storage_backends.netapp.concurrent_changes import after_each
from tests.storage_backends.netapp.lost_changes import Stopping, StoppingAtJob, reconciled, record_of
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.fixture
def backend(ontap: Simulator) -> StorageBackend:
    furnish(ontap)
    return open_backend(ontap)


@pytest.mark.parametrize(
    ("change", "fault", "outcome"),
    [
        ("create", Kind.DROP_AFTER, Outcome.UNKNOWN),
        ("make snapshot", Kind.DROP_AFTER, Outcome.UNKNOWN),
        ("restrict", Kind.DROP_AFTER, Outcome.UNKNOWN),
        ("caching", Kind.DROP, Outcome.UNKNOWN),
        ("make policy", Kind.DROP, Outcome.NOT_DONE),
    ],
)
def test_without_a_job_list_a_missing_object_leaves_the_change_in_doubt(
    change: str, fault: Kind, outcome: Outcome, backend: StorageBackend, ontap: Simulator
) -> None:
    """ONTAP makes changes of volumes and snapshots by jobs, which may take minutes; those of policies at once."""
    ontap.world.job_seconds = 60
    ontap.fault(fault, method="POST|PATCH")
    ontap.fault(Kind.REFUSE, method="GET", path="/cluster/jobs", times=99, status=403, code=6)
    _, error, lost = attempt(backend, change)
    assert isinstance(error, OutcomeUnclear)

    assert settled(backend, change, lost) is outcome


@pytest.mark.parametrize("change", ["create", "clone", "make snapshot"])
def test_the_object_of_a_job_may_appear_after_its_end(
    change: str, backend: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "SHOWN_S", 5.0)
    ontap.world.job_seconds, ontap.world.hidden_seconds = 0.2, 0.2
    ontap.fault(Kind.DROP_AFTER, method="POST")
    _, error, lost = attempt(backend, change)
    assert isinstance(error, OutcomeUnclear)

    assert settled(backend, change, lost) is Outcome.DONE


def test_a_roll_back_was_not_made_where_a_later_snapshot_is_there(backend: StorageBackend, ontap: Simulator) -> None:
    """The only new job of the volume is another client's, since the request never arrived."""
    ontap.fault(Kind.DROP, method="PATCH")
    _, _, lost = attempt(backend, "roll back")
    with ontap.world.lock:
        ontap.world.start(lost.facts["url"], "vs1", lambda: None)

    assert settled(backend, "roll back", lost) is Outcome.NOT_DONE


def test_a_later_snapshot_deleted_by_others_does_not_prove_a_roll_back(
    backend: StorageBackend, ontap: Simulator
) -> None:
    home = record_of(ontap, "home")
    newest = ontap.world.add_snapshot(home, "newest")
    ontap.fault(Kind.DROP, method="PATCH")
    _, _, lost = attempt(backend, "roll back")
    del ontap.world.snapshots[home["uuid"]][newest["uuid"]]

    assert settled(backend, "roll back", lost) is Outcome.NOT_DONE


@pytest.mark.parametrize(
    ("change", "error"),
    [("update", NoSuchVolume), ("make snapshot", NoSuchVolume), ("delete snapshot", NoSuchSnapshot)],
)
def test_a_failed_job_names_the_missing_object(
    change: str, error: type[StorageError], backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.JOB_FAILS, method="POST|PATCH|DELETE", code=4)
    lost, (operation, arguments) = Stopping(), CHANGES[change]
    with pytest.raises(ShuttingDown):
        getattr(backend, operation)(**arguments, journal=lost)

    result = reconciled(backend, lost, operation, arguments)

    assert (result.outcome, type(result.error)) == (Outcome.NOT_DONE, error)


def test_no_second_snapshot_is_purged_for_one(backend: StorageBackend, ontap: Simulator) -> None:
    """Another client has used the place that the first one left."""
    for _ in range(2):
        ontap.fault(Kind.JOB_FAILS, method="POST", code=525062)
    lost = StoppingAtJob("create-after-purge")
    with pytest.raises(ShuttingDown):
        backend.create_snapshot("full", "three", journal=lost, purge_old_if_needed=True)

    result = reconciled(backend, lost, *CHANGES["purge"])

    assert (result.outcome, type(result.error)) == (Outcome.NOT_DONE, TooManySnapshots)
    assert [seen.method for seen in ontap.changes_sent()] == ["POST", "DELETE", "POST"]


class _Cancelling(InMemoryJournal):
    """Asks to cancel once a job of the filer is known."""

    @property
    def cancel_requested(self) -> bool:
        return self.uuid is not None


def test_a_job_that_failed_after_a_cancellation_without_an_answer_was_cancelled(
    backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.world.job_seconds = 30
    ontap.fault(Kind.DROP_AFTER, method="PATCH", path="/cluster/jobs/.*")

    with pytest.raises(Cancelled):
        backend.create_volume("new", journal=_Cancelling())

    assert ontap.world.effects == []


@pytest.mark.parametrize(
    ("change", "step", "patches_before"), [("create in three steps", "configure", 0), ("restrict", "restrict", 1)]
)
def test_a_later_step_that_failed_leaves_the_change_made_in_part(
    change: str, step: str, patches_before: int, backend: StorageBackend, ontap: Simulator
) -> None:
    """So it is not retryable, unlike a change that was refused as a whole."""
    ontap.fault(Kind.JOB_FAILS, method="PATCH", after=patches_before, code=13107406)
    operation, arguments = CHANGES[change]
    lost = StoppingAtJob(step)
    with pytest.raises(ShuttingDown):
        getattr(backend, operation)(**arguments, journal=lost)

    result = reconciled(backend, lost, operation, arguments)

    assert (result.outcome, type(result.error)) == (Outcome.NOT_DONE, ResourceBusy)
    assert isinstance(result.error, ResourceBusy)
    assert (result.error.detail.startswith("The change was made in part"), result.error.retryable) == (True, False)


def test_a_later_step_that_was_not_made_leaves_the_change_made_in_part(
    backend: StorageBackend, ontap: Simulator
) -> None:
    """The oldest snapshot has been deleted."""
    ontap.fault(Kind.REFUSE, method="POST", status=409, code=525062)
    ontap.fault(Kind.DROP, method="POST")
    _, error, lost = attempt(backend, "purge")
    assert isinstance(error, OutcomeUnclear)

    result = reconciled(backend, lost, *CHANGES["purge"])

    assert result.outcome is Outcome.NOT_DONE
    assert isinstance(result.error, StorageError)
    assert result.error.detail.startswith("The change was made in part")


@pytest.mark.parametrize("meanwhile", ["a snapshot of that name", "no volume"])
def test_a_purged_snapshot_is_reported_also_when_the_creation_fails(
    meanwhile: str, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.REFUSE, method="POST", status=409, code=525062)
    ontap.fault(Kind.DROP, method="POST")
    _, _, lost = attempt(backend, "purge")
    if meanwhile == "no volume":
        ontap.world.volumes.clear()
    else:
        ontap.world.add_snapshot(record_of(ontap, "full"), "three")

    result = reconciled(backend, lost, *CHANGES["purge"])

    assert result.outcome is Outcome.NOT_DONE
    assert isinstance(result.error, AlreadyExists if ontap.world.volumes else NoSuchVolume)
    assert result.error.detail.startswith("The change was made in part")


def test_nothing_was_made_of_a_snapshot_that_the_limit_refused(backend: StorageBackend, ontap: Simulator) -> None:
    """The worker is lost before it learns that, and none of the snapshots may be purged by now."""
    ontap.fault(Kind.JOB_FAILS, method="POST", code=525062)
    lost = StoppingAtJob("create")
    with pytest.raises(ShuttingDown):
        backend.create_snapshot("full", "three", journal=lost, purge_old_if_needed=True)
    ontap.fault(Kind.REFUSE, method="DELETE", status=403, code=6)

    result = reconciled(backend, lost, *CHANGES["purge"])

    assert result.outcome is Outcome.NOT_DONE
    assert isinstance(result.error, StorageError)
    assert "in part" not in result.error.detail


def test_a_lost_change_goes_on_with_no_other_volume(backend: StorageBackend, ontap: Simulator) -> None:
    """The answer to the look for the volume is that for another one, as after a mistake of a proxy."""
    ontap.fault(Kind.DROP_AFTER, method="PATCH")
    _, error, lost = attempt(backend, "restrict")
    assert isinstance(error, OutcomeUnclear)
    other = record_of(ontap, "full")
    other["nas"] = {}
    sent = len(ontap.changes_sent())
    after_each(
        ontap,
        lambda request, _: Reply(200, dict(other)) if request.path.startswith("/storage/volumes/") else None,
    )

    with pytest.raises(StorageError, match="or another one"):
        settled(backend, "restrict", lost)

    assert len(ontap.changes_sent()) == sent


class _StoppingAfter(InMemoryJournal):
    """The journal of a worker that shuts down after it has waited so often."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self._waits = waits

    def wait(self, seconds: float) -> None:
        self._waits -= 1
        if not self._waits:
            raise ShuttingDown


def test_the_result_of_another_job_is_not_that_of_ours(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.world.job_seconds = 60
    another = Reply(200, {"uuid": "another", "state": "success"})
    after_each(ontap, lambda request, _: another if request.path.startswith("/cluster/jobs/") else None)

    with pytest.raises(ShuttingDown):
        backend.create_snapshot("home", "three", journal=_StoppingAfter(5))

    assert len({seen.path for seen in ontap.requests[-4:]}) == 1
