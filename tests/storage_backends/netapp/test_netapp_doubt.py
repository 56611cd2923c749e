"""Answers that prove less than they seem to: empty ones, vague ones, and settings that a filer does not store."""

from __future__ import annotations

import time

import pytest

from storage_backends.base import Outcome, ReconciledOutcome, StorageBackend
from storage_backends.errors import AlreadyExists, BackendUnavailable, OutcomeUnclear, StorageError
from storage_backends.journal import InMemoryJournal, ShuttingDown
from tests.ontap_simulator import Dialect, Kind, Simulator
from tests.ontap_simulator.errors import Refusal
from tests.ontap_simulator.exchange import Reply, Request
from tests.storage_backends.netapp.changes import attempt, furnish, settled
from tests.storage_backends.netapp.concurrent_changes import after_each
from tests.storage_backends.netapp.lost_changes import Stopping
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.fixture
def backend(ontap: Simulator) -> StorageBackend:
    furnish(ontap)
    return open_backend(ontap)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}"])
def test_an_answer_that_is_no_listing_is_not_taken_for_an_empty_one(
    body: bytes, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dialect, "packed", lambda *_: (body, {"Content-Length": str(len(body))}))

    with pytest.raises(StorageError) as trouble:
        open_backend(ontap).list_volumes(journal=InMemoryJournal())

    assert trouble.value.code in {"backend-unavailable", "backend-error"}


@pytest.mark.parametrize("takes_effect", [True, False])
def test_a_status_that_the_filer_cannot_determine_is_reconciled(
    takes_effect: bool, backend: StorageBackend, ontap: Simulator
) -> None:
    """ONTAP has codes that say "cannot determine the status": they are no refusals."""
    if takes_effect:
        ontap.world.add_snapshot(next(iter(ontap.world.volumes.values())), "three", comment="job:0199-job")
    ontap.fault(Kind.JOB_FAILS, method="POST", code=1638537)

    _, error, journal = attempt(backend, "make snapshot")

    assert isinstance(error, OutcomeUnclear)
    assert settled(backend, "make snapshot", journal) is (Outcome.DONE if takes_effect else Outcome.NOT_DONE)


def test_a_caching_policy_that_the_filer_does_not_tell_stays_unknown(backend: StorageBackend, ontap: Simulator) -> None:
    for volume in ontap.world.volumes.values():
        del volume["flash_pool"]
    ontap.fault(Kind.DROP, method="PATCH")

    _, error, journal = attempt(backend, "caching")

    assert isinstance(error, OutcomeUnclear)
    assert settled(backend, "caching", journal) is Outcome.UNKNOWN


def test_a_change_goes_over_no_connection_that_may_be_closing(backend: StorageBackend, ontap: Simulator) -> None:
    assert attempt(backend, "update in two steps")[1] is None

    first_on_theirs = {seen.port: seen.method for seen in reversed(ontap.requests)}
    changes = [seen for seen in ontap.requests if seen.method != "GET"]
    assert len(changes) == 2
    assert [first_on_theirs[seen.port] for seen in changes] == ["PATCH", "PATCH"]


class _WaitingJournal(InMemoryJournal):
    """Records the waits."""

    waited_s = 0.0

    def wait(self, seconds: float) -> None:
        self.waited_s += seconds


def test_retry_after_of_the_filer_is_respected(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.REFUSE, method="PATCH", status=429, code=262160, headers={"Retry-After": "5"})
    assert isinstance(attempt(backend, "update")[1], BackendUnavailable)
    other = _WaitingJournal()

    backend.get_volume("full", journal=other)

    assert other.waited_s > 0


def test_a_change_that_waits_for_a_busy_filer_is_not_in_doubt(ontap: Simulator) -> None:
    furnish(ontap)
    backend = open_backend(ontap)

    def busy(request: Request, reply: Reply) -> None:
        backend._client._busy_until = time.monotonic() + 60.0  # As after another request's Retry-After.

    after_each(ontap, busy)
    stopped = Stopping()
    with pytest.raises(ShuttingDown):
        backend.update_volume("home", journal=stopped, comment="c")

    assert [seen.method for seen in ontap.requests] == ["GET"]
    assert stopped.step is None


@pytest.mark.parametrize(
    ("path", "outcome"), [("/new", Outcome.UNKNOWN), ("/NEW", Outcome.UNKNOWN), ("/elsewhere", Outcome.NOT_DONE)]
)
def test_on_a_filer_without_comments_a_volume_is_not_reported_as_foreign(
    path: str, outcome: Outcome, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP_AFTER, method="POST")
    _, error, journal = attempt(backend, "create")
    for volume in ontap.world.volumes.values():
        volume.pop("comment")
        if volume["name"] == "new":
            volume["nas"]["path"] = path

    assert isinstance(error, OutcomeUnclear)
    assert settled(backend, "create", journal) is outcome


def test_nothing_is_purged_for_a_name_that_is_taken(backend: StorageBackend, ontap: Simulator) -> None:
    """A filer that checks its limit before the name says "too many", though a free place would not help."""
    full = next(volume for volume in ontap.world.volumes.values() if volume["name"] == "full")
    ontap.fault(Kind.JOB_FAILS, method="POST", code=525062)
    before = list(ontap.world.snapshots[full["uuid"]])

    with pytest.raises(AlreadyExists):
        backend.create_snapshot("full", "two", journal=InMemoryJournal(), purge_old_if_needed=True)

    assert list(ontap.world.snapshots[full["uuid"]]) == before
    assert [seen.method for seen in ontap.changes_sent()] == ["POST"]


class _ShortTimeJournal(InMemoryJournal):
    """Does not wait for jobs that are not ours."""

    waited_s = 0.0

    def wait(self, seconds: float) -> None:
        self.waited_s += seconds
        assert self.waited_s < 2, "it waits for the end of a job that is somebody else's"
        super().wait(seconds)


class TestJobsOfOthers:
    """Jobs that others start on the filer are not taken for ours."""

    @pytest.fixture
    def lost(self, backend: StorageBackend, ontap: Simulator) -> InMemoryJournal:
        """A roll-back to the last snapshot that never arrived: only its job could tell whether it was made."""
        ontap.fault(Kind.DROP, method="PATCH")
        journal = InMemoryJournal()
        with pytest.raises(OutcomeUnclear):
            backend.roll_back_volume("home", from_snapshot="two", journal=journal)
        return journal

    def settlement(self, backend: StorageBackend, lost: InMemoryJournal) -> ReconciledOutcome:
        arguments = {"volume": "home", "from_snapshot": "two"}
        again = _ShortTimeJournal(lost.job_id)
        return backend.reconcile("roll_back_volume", arguments, lost.state(age_s=3600.0), journal=again)

    def start(self, ontap: Simulator, lost: InMemoryJournal, *, svm: str, seconds: float = 0.0) -> None:
        """Another client starts a change of the same description."""
        with ontap.world.lock:
            ontap.world.job_seconds = seconds
            ontap.world.start(lost.facts["url"], svm, lambda: None)

    @pytest.mark.parametrize(("jobs", "expected"), [(0, Outcome.UNKNOWN), (1, Outcome.DONE), (2, Outcome.UNKNOWN)])
    def test_a_single_job_is_taken_for_ours_and_several_are_not(
        self, jobs: int, expected: Outcome, backend: StorageBackend, lost: InMemoryJournal, ontap: Simulator
    ) -> None:
        for _ in range(jobs):
            self.start(ontap, lost, svm="vs1")

        assert self.settlement(backend, lost).outcome is expected

    def test_a_job_from_before_the_request_is_not_ours(self, backend: StorageBackend, ontap: Simulator) -> None:
        backend.update_volume("home", journal=InMemoryJournal(), comment="mine")
        ontap.fault(Kind.DROP, method="PATCH")
        lost = InMemoryJournal()
        with pytest.raises(OutcomeUnclear):
            backend.roll_back_volume("home", from_snapshot="two", journal=lost)

        assert self.settlement(backend, lost).outcome is Outcome.UNKNOWN

    def test_a_failed_job_proves_that_the_change_was_not_made(
        self, backend: StorageBackend, lost: InMemoryJournal, ontap: Simulator
    ) -> None:
        def refused() -> None:
            raise Refusal(1638480, "Newer snapshots are in use.")

        with ontap.world.lock:
            ontap.world.start(lost.facts["url"], "vs1", refused)

        settlement = self.settlement(backend, lost)

        assert settlement.outcome is Outcome.NOT_DONE
        assert str(settlement.error) == "Newer snapshots are in use and stand in the way."

    def test_jobs_of_other_vservers(self, backend: StorageBackend, lost: InMemoryJournal, ontap: Simulator) -> None:
        self.start(ontap, lost, svm="vs2")
        self.start(ontap, lost, svm="vs2", seconds=3600.0)

        assert self.settlement(backend, lost).outcome is Outcome.UNKNOWN
