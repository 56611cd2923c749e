"""Whatever goes wrong: no change takes effect twice, and reports are true. The filer's own log is the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import BackendTimeout, BackendUnavailable, OutcomeUnclear, ResourceBusy
from storage_backends.journal import InMemoryJournal
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.netapp.changes import (
    CHANGES,
    STEPS,
    WITHOUT_JOB,
    attempt,
    furnish,
    repeated,
    sent_twice,
    settled,
)
from tests.storage_backends.netapp.signed_in_drivers import open_backend

CHANGING = "POST|PATCH|DELETE"


@dataclass(frozen=True)
class Case:
    """A fault, and what a single-step change that meets it must come to."""

    kind: Kind
    takes_effect: bool
    what: dict[str, Any] = field(default_factory=dict)
    #: Is it a refusal, after which the whole may be tried again?
    refused: bool = False


CASES = {
    "429": Case(Kind.REFUSE, False, {"status": 429, "headers": {"Retry-After": "0"}}, refused=True),
    "503": Case(Kind.REFUSE, False, {"status": 503, "headers": {"Retry-After": "0"}}, refused=True),
    "503 code 7": Case(Kind.REFUSE, False, {"status": 503, "code": 7}, refused=True),
    "busy": Case(Kind.REFUSE, False, {"status": 409, "code": 524486}, refused=True),
    "500": Case(Kind.REFUSE, False, {"status": 500, "code": 65541}),
    "cut before": Case(Kind.DROP, False),
    "cut after": Case(Kind.DROP_AFTER, True),
    "hang before": Case(Kind.HANG, False, {"seconds": 2.0}),
    "hang after": Case(Kind.HANG_AFTER, True, {"seconds": 2.0}),
    "broken answer": Case(Kind.TRUNCATE, True),
    "trickling answer": Case(Kind.TRICKLE, True),
    "sent elsewhere": Case(Kind.REDIRECT, False),
}
SLOW = ("hang before", "hang after", "trickling answer")


@pytest.fixture
def backend(ontap: Simulator) -> StorageBackend:
    furnish(ontap)
    return open_backend(ontap, timeout_s=0.4)


#: Each kind is reconciled in its own way; what else may happen to it is the same for all.
FOR_EACH_CHANGE = ("cut before", "cut after")
#: One of each way in which the filer carries changes out: with a job, without, in several steps, by the command line.
REPRESENTATIVE = ("update", "add rule", "purge", "caching")


def combinations() -> list[Any]:
    of_each = [(fault, change) for fault in FOR_EACH_CHANGE for change in CHANGES]
    others = [(fault, change) for fault in CASES if fault not in FOR_EACH_CHANGE for change in REPRESENTATIVE]
    return [pytest.param(fault, change, id=f"{change}: {fault}") for fault, change in of_each + others]


def later_steps() -> list[Any]:
    steps = [(change, step) for change, last in STEPS.items() for step in range(1, last)]
    of_each = [(fault, change, step) for fault in FOR_EACH_CHANGE for change, step in steps]
    quick = [fault for fault in CASES if fault not in {*SLOW, *FOR_EACH_CHANGE}]
    others = [(fault, change, 1) for fault in quick for change in ("restrict", "break locks")]
    return [pytest.param(*one, id=f"{one[1]}, step {one[2]}: {one[0]}") for one in of_each + others]


@pytest.mark.parametrize(("fault", "change"), combinations())
def test_a_fault_in_the_first_step(fault: str, change: str, backend: StorageBackend, ontap: Simulator) -> None:
    case = CASES[fault]
    first = "DELETE" if change == "purge" else CHANGING
    ontap.fault(case.kind, method=first, **case.what)

    _, error, journal = attempt(backend, change)

    if case.refused and change != "purge":
        assert isinstance(error, BackendUnavailable | ResourceBusy)
        assert error.transient
        assert ontap.world.effects == []
    elif isinstance(error, OutcomeUnclear):
        outcome = settled(backend, change, journal)
        if change == "purge":
            # On a busy machine the time may be over between the old snapshot's end and the making of the new one.
            assert (outcome is Outcome.DONE) == ("POST" in {effect.method for effect in ontap.world.effects})
        else:
            assert outcome is (Outcome.DONE if case.takes_effect or change == "break locks" else Outcome.NOT_DONE)
            assert bool(ontap.world.effects) == (outcome is Outcome.DONE)
    elif change != "purge":
        assert error is None
        assert case.takes_effect
        assert ontap.world.effects
    assert repeated(ontap) == []
    if change not in {"purge", "break locks"}:
        assert sent_twice(ontap) == []


@pytest.mark.parametrize(("fault", "change", "step"), later_steps())
def test_a_fault_in_a_later_step(fault: str, change: str, step: int, backend: StorageBackend, ontap: Simulator) -> None:
    """A change that was begun is completed, or reported as it is: never repeated as a whole."""
    case = CASES[fault]
    ontap.fault(case.kind, method=CHANGING, after=step, **case.what)

    _, error, journal = attempt(backend, change)

    if error is not None:
        assert isinstance(error, OutcomeUnclear)
        assert not error.transient
        assert settled(backend, change, journal) is Outcome.DONE
    assert len(ontap.world.effects) == STEPS[change]
    assert repeated(ontap) == []


@pytest.mark.parametrize("change", [name for name in CHANGES if name not in WITHOUT_JOB])
def test_a_job_that_fails_late_ends_with_its_own_code(change: str, backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.JOB_FAILS, method="POST|PATCH|DELETE", code=524486)
    ontap.world.job_seconds = 0.03

    _, error, _ = attempt(backend, change)

    assert isinstance(error, ResourceBusy)
    assert error.backend_error is not None
    assert error.backend_error.code == "524486"
    assert error.transient
    assert ontap.world.effects == []


@pytest.mark.parametrize("change", [name for name in CHANGES if name not in WITHOUT_JOB | {"purge"}])
def test_a_job_that_the_filer_forgot_is_reconciled_by_its_object(
    change: str, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.JOB_VANISHES, method="POST|PATCH|DELETE")

    _, error, journal = attempt(backend, change)

    assert isinstance(error, OutcomeUnclear)
    assert settled(backend, change, journal) is Outcome.DONE
    assert repeated(ontap) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_filer_that_cannot_answer_for_a_while(status: int, backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.REFUSE, method="GET", path="/cluster/jobs/.*", times=4, status=status, code=65541)
    ontap.faults[-1].headers["Retry-After"] = "0"

    _, error, _ = attempt(backend, "create")

    assert error is None
    assert len(ontap.world.effects) == 1


@pytest.mark.parametrize("kind", [Kind.DROP, Kind.REFUSE, Kind.TRUNCATE, Kind.HANG])
def test_a_filer_that_is_away_while_its_job_is_followed(kind: Kind, backend: StorageBackend, ontap: Simulator) -> None:
    ontap.world.job_seconds = 0.02
    ontap.fault(kind, method="GET", path="/cluster/jobs/.*", times=1 if kind is Kind.HANG else 4, seconds=1.0)
    ontap.faults[-1].headers["Retry-After"] = "0"

    _, error, _ = attempt(backend, "create")

    assert error is None
    assert len(ontap.world.effects) == 1


@pytest.mark.parametrize("kind", [Kind.DROP, Kind.TRUNCATE, Kind.REFUSE])
def test_a_read_is_repeated(kind: Kind, backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(kind, method="GET", times=2, headers={"Retry-After": "0"})

    assert len(backend.list_volumes(journal=InMemoryJournal())) == 2


def test_repetitions_of_a_read_are_limited(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP, method="GET", times=99)

    with pytest.raises(BackendUnavailable) as refusal:
        backend.list_volumes(journal=InMemoryJournal())

    assert refusal.value.transient
    assert len(ontap.requests) == 3


@pytest.mark.parametrize("kind", [Kind.HANG, Kind.TRICKLE])
def test_every_read_has_a_time_limit(kind: Kind, backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(kind, method="GET", times=9)

    with pytest.raises(BackendTimeout):
        backend.list_volumes(journal=InMemoryJournal())


def test_no_call_lasts_longer_than_its_job_may(ontap: Simulator) -> None:
    class ShortTimeJournal(InMemoryJournal):
        seconds_left = 0.2

    furnish(ontap)
    ontap.fault(Kind.HANG, method="GET", seconds=1.0)
    with pytest.raises(BackendTimeout):
        open_backend(ontap, timeout_s=30.0).list_volumes(journal=ShortTimeJournal())


def test_an_unreachable_filer_is_reported(ontap: Simulator, backend: StorageBackend) -> None:
    ontap.close()
    journal = InMemoryJournal()

    with pytest.raises(BackendUnavailable) as refusal:
        backend.restrict_volume("home", journal=journal)

    assert refusal.value.transient
    assert journal.step is None


def test_an_effect_that_comes_late_is_waited_for(
    backend: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request may still be on its way when its worker is gone: first it must be sure that it can arrive no more."""
    monkeypatch.setattr("storage_backends.netapp.reconciliation.reconcile.MARGIN_S", 1.5)
    ontap.fault(Kind.LATENCY, method="PATCH", seconds=0.9)
    _, error, journal = attempt(backend, "update")
    assert isinstance(error, OutcomeUnclear)
    assert ontap.world.effects == []
    operation, arguments = CHANGES["update"]

    settlement = backend.reconcile(operation, arguments, journal.state(age_s=0.0), journal=journal)

    assert settlement.outcome is Outcome.DONE
    assert len(ontap.world.effects) == 1


def test_a_lost_job_that_goes_on_is_waited_for(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.world.job_seconds = 0.5
    ontap.fault(Kind.DROP_AFTER, method="PATCH")
    _, error, journal = attempt(backend, "update")
    assert isinstance(error, OutcomeUnclear)
    assert ontap.world.effects == []

    assert settled(backend, "update", journal) is Outcome.DONE


@pytest.mark.parametrize("time", [None, "2024-01-03T01:00:00+02:00"])
def test_a_snapshot_that_may_be_older_does_not_show_that_a_roll_back_is_lost(
    backend: StorageBackend, ontap: Simulator, time: str | None
) -> None:
    home = ontap.world.add_volume("odd")
    for name, created in (("target", "2024-01-02T23:00:00+00:00"), ("other", time)):
        ontap.world.add_snapshot(home, name, create_time=created)
    ontap.fault(Kind.DROP_AFTER, method="PATCH")
    journal, arguments = InMemoryJournal(), {"volume": "odd", "from_snapshot": "target"}
    with pytest.raises(OutcomeUnclear):
        backend.roll_back_volume(**arguments, journal=journal)
    ontap.world.jobs.clear()
    ontap.world.add_snapshot(home, "other", uuid=journal.state(age_s=0.0).facts["later_uuids"] or "new")

    settlement = backend.reconcile("roll_back_volume", arguments, journal.state(age_s=900.0), journal=journal)

    assert settlement.outcome is Outcome.UNKNOWN


def test_a_lost_roll_back_without_later_snapshots_is_found_by_its_job(
    backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP_AFTER, method="PATCH")
    journal = InMemoryJournal()
    arguments = {"volume": "home", "from_snapshot": "two"}
    with pytest.raises(OutcomeUnclear):
        backend.roll_back_volume(**arguments, journal=journal)

    settlement = backend.reconcile("roll_back_volume", arguments, journal.state(age_s=60.0), journal=journal)

    assert settlement.outcome is Outcome.DONE
    ontap.world.jobs.clear()
    settlement = backend.reconcile("roll_back_volume", arguments, journal.state(age_s=900.0), journal=journal)
    assert settlement.outcome is Outcome.UNKNOWN
    assert len(ontap.world.effects) == 1
