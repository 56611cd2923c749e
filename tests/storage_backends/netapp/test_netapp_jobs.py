"""ONTAP's jobs: recorded before they are waited for, followed by the next worker, cancelled where that is safe."""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import AlreadyExists, InvalidRequest, OutcomeUnclear, ResourceBusy
from storage_backends.journal import Cancelled, InMemoryJournal, LeaseLost, ShuttingDown
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.netapp.changes import CHANGES, WITHOUT_JOB, furnish, repeated, sent_twice
from tests.storage_backends.netapp.signed_in_drivers import CONFINED_USER, open_backend

WITH_JOB = [name for name in CHANGES if name not in WITHOUT_JOB]


class RecordingJournal(InMemoryJournal):
    """Records the order of calls, and stops or requests a cancellation once a job of the filer is known."""

    def __init__(self, *, stop: bool = False, cancel: bool = False) -> None:
        super().__init__("0199-job")
        self.marks: list[str] = []
        self._stop, self._cancel = stop, cancel

    @property
    def cancel_requested(self) -> bool:
        return self._cancel and self.uuid is not None

    def record_intent(self, step: str, *, steps_done: int | None = None, **facts: str) -> None:
        super().record_intent(step, steps_done=steps_done, **facts)
        self.marks.append(f"sending {step}")

    def backend_job(self, uuid: str, *, cancellable: bool = False) -> None:
        super().backend_job(uuid)
        self.marks.append("job" + (", cancellable" if cancellable else ""))

    def wait(self, seconds: float) -> None:
        if self._stop and self.uuid:
            raise ShuttingDown
        super().wait(seconds)


@pytest.fixture
def backend(ontap: Simulator) -> StorageBackend:
    furnish(ontap)
    return open_backend(ontap)


def run(backend: StorageBackend, name: str, journal: InMemoryJournal) -> Any:
    operation, arguments = CHANGES[name]
    return getattr(backend, operation)(**arguments, journal=journal)


class TestIntents:
    """In the right order."""

    def test_the_job_is_known_before_it_is_waited_for(self, backend: StorageBackend, ontap: Simulator) -> None:
        ontap.world.job_seconds = 60
        journal = RecordingJournal(stop=True)

        with pytest.raises(ShuttingDown):
            run(backend, "restrict", journal)

        assert journal.marks == ["sending unmount", "job"]
        assert journal.uuid in ontap.world.jobs
        assert journal.facts["volume_uuid"] in ontap.world.volumes

    def test_each_step_is_recorded(self, backend: StorageBackend) -> None:
        journal = RecordingJournal()

        run(backend, "create in three steps", journal)

        assert journal.marks == [
            "sending create",
            "job, cancellable",
            "sending configure",
            "job",
            "sending caching-policy",
        ]

    def test_a_worker_without_the_lease_sends_nothing(self, backend: StorageBackend, ontap: Simulator) -> None:
        class Lost(InMemoryJournal):
            def checkpoint(self) -> None:
                raise LeaseLost

            def progress(self, current: int, total: int | None, unit: str, message: str) -> None:
                raise LeaseLost

        for name in CHANGES:
            with pytest.raises(LeaseLost):
                run(backend, name, Lost())
        assert ontap.requests == []


class TestHandedOn:
    """A job of the filer is followed by the next worker."""

    @pytest.mark.parametrize("change", WITH_JOB)
    def test_a_job_is_followed_to_its_success(self, change: str, backend: StorageBackend, ontap: Simulator) -> None:
        ontap.world.job_seconds = 0.1
        journal = RecordingJournal(stop=True)
        with pytest.raises(ShuttingDown):
            run(backend, change, journal)
        operation, arguments = CHANGES[change]

        settlement = open_backend(ontap).reconcile(
            operation, arguments, journal.state(), journal=InMemoryJournal("0199-job")
        )

        assert settlement.outcome is Outcome.DONE
        assert repeated(ontap) == sent_twice(ontap) == [] or change == "purge"

    @pytest.mark.parametrize("change", WITH_JOB)
    def test_a_job_is_followed_to_its_failure(self, change: str, backend: StorageBackend, ontap: Simulator) -> None:
        ontap.world.job_seconds = 0.1
        ontap.fault(Kind.JOB_FAILS, method="POST|PATCH|DELETE", code=917534)
        journal = RecordingJournal(stop=True)
        with pytest.raises(ShuttingDown):
            run(backend, change, journal)
        operation, arguments = CHANGES[change]

        settlement = backend.reconcile(operation, arguments, journal.state(), journal=InMemoryJournal("0199-job"))

        assert settlement.outcome is Outcome.NOT_DONE
        assert isinstance(settlement.error, InvalidRequest)
        assert ontap.world.effects == []

    def test_a_forgotten_job_is_reconciled_by_its_object(self, backend: StorageBackend, ontap: Simulator) -> None:
        journal = RecordingJournal(stop=True)
        with pytest.raises(ShuttingDown):
            run(backend, "create", journal)
        backend.list_volumes(journal=InMemoryJournal())
        ontap.world.jobs.clear()
        operation, arguments = CHANGES["create"]

        settlement = backend.reconcile(operation, arguments, journal.state(age_s=900.0), journal=journal.__class__())

        assert settlement.outcome is Outcome.DONE
        assert settlement.value.name == "new"


class TestForeignObjects:
    """An object of the same name that another client made is not taken for ours."""

    @pytest.mark.parametrize("change", ["create", "clone", "make snapshot"])
    def test_another_comment_means_another_job(self, change: str, backend: StorageBackend, ontap: Simulator) -> None:
        ontap.fault(Kind.DROP, method="POST")
        journal = InMemoryJournal("0199-job")
        with pytest.raises(OutcomeUnclear):
            run(backend, change, journal)
        home = next(one for one in ontap.world.volumes.values() if one["name"] == "home")
        ontap.world.add_snapshot(home, "three", comment="job:another")
        ontap.world.add_volume("new", comment="job:another")
        ontap.world.add_volume("copy")
        operation, arguments = CHANGES[change]

        settlement = backend.reconcile(operation, arguments, journal.state(age_s=900.0), journal=journal)

        assert settlement.outcome is Outcome.NOT_DONE
        assert isinstance(settlement.error, AlreadyExists)


class TestCancelling:
    """Passed on where ONTAP allows it; reported as it ended."""

    @pytest.mark.parametrize("change", ["create", "clone", "make snapshot"])
    def test_a_change_cancelled_in_time_is_not_made(
        self, change: str, backend: StorageBackend, ontap: Simulator
    ) -> None:
        ontap.world.job_seconds = 30

        with pytest.raises(Cancelled):
            run(backend, change, RecordingJournal(cancel=True))

        assert ontap.world.effects == []

    def test_a_change_that_ended_earlier_has_succeeded(self, backend: StorageBackend, ontap: Simulator) -> None:
        ontap.world.job_seconds = 0.1
        ontap.fault(Kind.REFUSE, method="PATCH", path="/cluster/jobs/.*", status=400, code=458784)

        assert run(backend, "create", RecordingJournal(cancel=True)).name == "new"

    def test_another_failure_is_not_reported_as_cancelled(self, backend: StorageBackend, ontap: Simulator) -> None:
        ontap.world.job_seconds = 0.1
        ontap.fault(Kind.REFUSE, method="PATCH", path="/cluster/jobs/.*", status=400, code=458784)
        ontap.fault(Kind.JOB_FAILS, method="POST", code=917534)

        with pytest.raises(InvalidRequest):
            run(backend, "create", RecordingJournal(cancel=True))

    @pytest.mark.parametrize("change", ["update", "restrict", "delete snapshot", "roll back"])
    def test_an_unsafe_cancellation_is_not_sent(self, change: str, backend: StorageBackend, ontap: Simulator) -> None:
        ontap.world.job_seconds = 0.03

        run(backend, change, RecordingJournal(cancel=True))

        assert [seen for seen in ontap.requests if seen.path.startswith("/cluster/jobs") and seen.method != "GET"] == []


class TestHiddenJobs:
    """With an account that may not read jobs, the object shows the outcome, or it is unknown."""

    @pytest.mark.parametrize(("seconds", "outcome"), [(0.0, Outcome.DONE), (60.0, Outcome.UNKNOWN)])
    def test_a_hidden_job_is_reconciled_by_its_object(self, seconds: float, outcome: Outcome, ontap: Simulator) -> None:
        furnish(ontap)
        backend = open_backend(ontap, CONFINED_USER)
        ontap.world.job_seconds = seconds
        ontap.fault(Kind.REFUSE, method="GET", path="/cluster/jobs.*", times=99, status=403, code=6)
        journal = InMemoryJournal("0199-job")
        with pytest.raises(OutcomeUnclear):
            run(backend, "create", journal)
        operation, arguments = CHANGES["create"]

        settlement = backend.reconcile(operation, arguments, journal.state(age_s=900.0), journal=journal)

        assert settlement.outcome is outcome


def test_a_busy_object_may_be_tried_again_by_the_service(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.JOB_FAILS, method="PATCH", code=13107406)

    with pytest.raises(ResourceBusy) as refusal:
        run(backend, "update", InMemoryJournal())

    assert refusal.value.transient


@pytest.mark.parametrize(("status", "code"), [(403, 6), (404, 4), (405, 3), (405, 0), (400, 262179)])
def test_jobs_that_cannot_be_listed_prove_nothing(
    status: int, code: int, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP_AFTER, method="PATCH")
    ontap.fault(Kind.REFUSE, method="GET", path="/cluster/jobs", times=99, status=status, code=code)
    journal = InMemoryJournal("0199-job")
    with pytest.raises(OutcomeUnclear):
        run(backend, "update", journal)

    settlement = backend.reconcile(*CHANGES["update"], journal.state(age_s=3600.0), journal=journal)

    assert settlement.outcome is Outcome.DONE
