"""How long another worker waits until it reports a lost change as not done."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from storage_backends.base import Outcome, ReconciledOutcome
from storage_backends.errors import NotFound, OutcomeUnclear, StorageError
from storage_backends.journal import InMemoryJournal, JournalState
from storage_backends.netapp.ontap.error_codes import Translator
from storage_backends.netapp.ontap.responses import OntapError
from storage_backends.netapp.reconciliation import reconcile
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.netapp.changes import CHANGES, attempt, furnish
from tests.storage_backends.netapp.concurrent_changes import before_each
from tests.storage_backends.netapp.signed_in_drivers import open_backend


class _Filer:
    """A filer with one vserver, that answers for its jobs alone."""

    vserver, without, timeout_s, translator = "vs1", frozenset[str](), 30.0, Translator(())

    def __init__(self, job: Any = None, *, running: int = 0) -> None:
        self.job, self.running = job, running

    def get(self, path: str, *args: Any, **options: Any) -> Any:
        if path == "/svm/svms":
            return {"records": [{"name": "vs1", "state": "running"}]}
        if path == "/cluster/jobs":
            self.running -= 1
            state = "running" if self.running >= 0 else "success"
            return {"records": [{"uuid": "2", "state": state, "description": "PATCH /api/x"}]}
        if isinstance(self.job, Exception):
            raise self.job
        return self.job


class _Waiting(InMemoryJournal):
    """Advances a clock instead of waiting."""

    now_s = 1000.0

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> _Waiting:
    journal = _Waiting()
    monkeypatch.setattr(reconcile, "time", SimpleNamespace(monotonic=lambda: journal.now_s))
    monkeypatch.setattr(reconcile, "PAUSE_S", 1.0)
    return journal


_DENIED = Translator(()).error(OntapError(6, "no"), status=403)


@pytest.mark.parametrize(
    ("job", "running", "age_s", "there", "outcome", "waited_s"),
    [
        (None, 0, 0.0, False, Outcome.NOT_DONE, 33),  # The request may still arrive.
        (None, 0, 10.0, False, Outcome.NOT_DONE, 23),
        (None, 0, 3600.0, False, Outcome.NOT_DONE, 0),
        (None, 0, 0.0, True, Outcome.DONE, 0),
        (None, 5, 3600.0, False, Outcome.NOT_DONE, 5),  # A job that may be ours is running.
        ({"state": "success"}, 5, 0.0, False, Outcome.UNKNOWN, 30),  # It was made, and may show late.
        ({"state": "success"}, 5, 0.0, True, Outcome.DONE, 0),
        ({"state": "failure", "code": 4711}, 5, 0.0, True, Outcome.NOT_DONE, 0),
        (_DENIED, 0, 3600.0, False, Outcome.UNKNOWN, 0),
        (_DENIED, 0, 3600.0, True, Outcome.DONE, 0),
        (NotFound("gone"), 0, 0.0, False, Outcome.NOT_DONE, 33),
    ],
)
def test_a_change_is_not_reported_as_not_done_too_early(
    job: Any, running: int, age_s: float, there: bool, outcome: Outcome, waited_s: float, waiting: _Waiting
) -> None:
    recorded = JournalState("0199-job", "x", "1" if job else None, {"url": "PATCH /api/x"}, age_s)
    lost = reconcile.InDoubtChange("x", {}, recorded, waiting)
    filer: Any = _Filer(job, running=running)

    result = reconcile.reconcile(filer, lost, lambda _: ReconciledOutcome(Outcome.DONE if there else Outcome.NOT_DONE))

    assert result.outcome is outcome
    assert waiting.now_s - 1000 == pytest.approx(waited_s, abs=0.9)


def test_a_later_step_that_is_refused_is_not_tried_again(waiting: _Waiting) -> None:
    def refused(_: Any) -> ReconciledOutcome:
        probes.append(waiting.now_s)
        return ReconciledOutcome(Outcome.NOT_DONE, error=StorageError("no"))

    probes: list[float] = []
    lost = reconcile.InDoubtChange("x", {}, JournalState("0199-job", "x", "1", {"url": "PATCH /api/x"}), waiting)
    filer: Any = _Filer({"state": "success"})
    assert reconcile.reconcile(filer, lost, refused).outcome is Outcome.NOT_DONE
    assert len(probes) == 1


def test_a_change_that_arrives_during_the_last_look_is_looked_up_again(waiting: _Waiting) -> None:
    outcomes = [Outcome.DONE, Outcome.NOT_DONE]

    def slow(_: Any) -> ReconciledOutcome:
        waiting.now_s += 40.0
        return ReconciledOutcome(outcomes.pop())

    lost = reconcile.InDoubtChange("x", {}, JournalState("0199-job", "x", None, {"url": "PATCH /api/x"}), waiting)
    filer: Any = _Filer()
    assert reconcile.reconcile(filer, lost, slow).outcome is Outcome.DONE


@pytest.mark.parametrize(("may_purge", "outcome"), [(True, Outcome.DONE), (False, Outcome.NOT_DONE)])
def test_a_snapshot_that_was_refused_for_room_is_completed_where_purging_is_allowed(
    may_purge: bool, outcome: Outcome, waiting: _Waiting
) -> None:
    recorded = JournalState("0199-job", "create", "1", {"url": "POST /api/x"})
    lost = reconcile.InDoubtChange("x", {"purge_old_if_needed": may_purge}, recorded, waiting)
    filer: Any = _Filer({"state": "failure", "code": 525062})
    assert reconcile.reconcile(filer, lost, lambda _: ReconciledOutcome(Outcome.DONE)).outcome is outcome


@pytest.mark.parametrize(
    ("change", "patches_before"),
    [
        ("create in three steps", 0),
        ("create in three steps", 1),
        ("clone with its own", 0),
        ("update in two steps", 1),
        ("restrict", 1),
        ("reinstate", 1),
    ],
)
def test_a_later_step_is_not_repeated_while_its_request_may_arrive(
    change: str, patches_before: int, waiting: _Waiting, ontap: Simulator
) -> None:
    """It could arrive after the next change of the same volume, and undo that."""
    furnish(ontap)
    backend = open_backend(ontap, timeout_s=30.0)
    ontap.fault(Kind.DROP, method="PATCH", after=patches_before)
    _, error, lost = attempt(backend, change)
    assert isinstance(error, OutcomeUnclear)
    sent_after_s: list[float] = []
    before_each(ontap, lambda request: sent_after_s.append(waiting.now_s - 1000) if request.method == "PATCH" else None)

    result = backend.reconcile(*CHANGES[change], lost.state(age_s=30.0), journal=waiting)

    assert result.outcome is Outcome.DONE
    assert sent_after_s[0] == pytest.approx(3, abs=0.9)
