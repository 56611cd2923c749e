"""What another worker makes of a change that was lost, when others have changed something since."""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.base import Outcome, ReconciledOutcome, StorageBackend
from storage_backends.errors import AlreadyExists, OutcomeUnclear
from storage_backends.journal import InMemoryJournal, ShuttingDown
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.netapp.changes import CHANGES, attempt, furnish
from tests.storage_backends.netapp.opening import open_backend


@pytest.fixture
def backend(ontap: Simulator) -> StorageBackend:
    furnish(ontap)
    return open_backend(ontap)


class _Stopping(InMemoryJournal):
    """Is that of a worker that shuts down as soon as it waits."""

    def wait(self, seconds: float) -> None:
        raise ShuttingDown


def reconciled(
    backend: StorageBackend, lost: InMemoryJournal, operation: str, arguments: dict[str, Any]
) -> ReconciledOutcome:
    """What another worker finds an hour later."""
    again = InMemoryJournal(lost.job_id)
    return backend.reconcile(operation, arguments, lost.trace(age_s=3600.0), journal=again)


def test_a_volume_whose_comment_the_user_s_has_replaced_is_ours(backend: StorageBackend, ontap: Simulator) -> None:
    settings = {"comment": "x" * 1023, "caching_policy": "all"}
    ontap.fault(Kind.DROP, method="PATCH", path="/private/cli/volume")
    lost = InMemoryJournal()
    with pytest.raises(OutcomeUnclear):
        backend.create_volume("new", journal=lost, **settings)  # type: ignore[arg-type]

    result = reconciled(backend, lost, "create_volume", {"volume": "new", **settings})

    assert result.outcome is Outcome.DONE
    assert (result.value.comment, result.value.caching_policy) == ("x" * 1023, "all")


def test_a_volume_with_the_user_s_comment_may_be_somebody_else_s(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP, method="POST")
    lost = InMemoryJournal()
    with pytest.raises(OutcomeUnclear):
        backend.create_volume("new", journal=lost, comment="for the team")
    ontap.world.add_volume("new", comment="for the team", nas={"path": "/new"})

    result = reconciled(backend, lost, "create_volume", {"volume": "new", "comment": "for the team"})

    assert (result.outcome, type(result.error)) == (Outcome.NOT_DONE, AlreadyExists)


def test_nothing_is_made_where_the_purge_was_not(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP, method="DELETE")
    _, error, lost = attempt(backend, "purge")
    assert isinstance(error, OutcomeUnclear)
    sent = len(ontap.changes_sent())

    assert reconciled(backend, lost, *CHANGES["purge"]).outcome is Outcome.NOT_DONE
    assert len(ontap.changes_sent()) == sent


def test_a_snapshot_that_somebody_else_made_after_the_purge_is_not_ours(
    backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.REFUSE, method="POST", status=409, code=525062)
    lost = _Stopping()  # For the end of the purge.
    operation, arguments = CHANGES["purge"]
    with pytest.raises(ShuttingDown):
        getattr(backend, operation)(**arguments, journal=lost)
    full = next(record for record in ontap.world.volumes.values() if record["name"] == "full")
    ontap.world.add_snapshot(full, "three")

    result = reconciled(backend, lost, *CHANGES["purge"])

    assert (result.outcome, type(result.error)) == (Outcome.NOT_DONE, AlreadyExists)


@pytest.mark.parametrize(("is_allowed", "code"), [(False, 525062), (True, 524486)])
def test_nothing_is_purged_where_it_is_not_allowed_or_no_help(
    is_allowed: bool, code: int, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.JOB_FAILS, method="POST", code=code)
    lost, arguments = _Stopping(), {"volume": "full", "name": "three", "purge_old_if_needed": is_allowed}
    with pytest.raises(ShuttingDown):
        backend.create_snapshot("full", "three", journal=lost, purge_old_if_needed=is_allowed)

    assert reconciled(backend, lost, "create_snapshot", arguments).outcome is Outcome.NOT_DONE
    assert [seen.method for seen in ontap.changes_sent()] == ["POST"]


def test_a_policy_of_the_same_name_is_another(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP_AFTER, method="DELETE")
    _, error, lost = attempt(backend, "delete policy")
    assert isinstance(error, OutcomeUnclear)
    ontap.world.add_policy("vs1", "team", [])

    assert reconciled(backend, lost, *CHANGES["delete policy"]).outcome is Outcome.DONE


@pytest.mark.parametrize(("path", "outcome"), [("/BACK", Outcome.DONE), ("/elsewhere", Outcome.UNKNOWN)])
def test_a_volume_that_is_mounted_elsewhere_meanwhile(
    path: str, outcome: Outcome, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP, method="PATCH", after=1)
    _, error, lost = attempt(backend, "reinstate")
    assert isinstance(error, OutcomeUnclear)
    volume = next(record for record in ontap.world.volumes.values() if record["name"] == "out")
    volume["nas"]["path"] = path

    assert reconciled(backend, lost, *CHANGES["reinstate"]).outcome is outcome


@pytest.mark.parametrize(("rules", "outcome"), [(["b", "a"], Outcome.UNKNOWN), (["A", "b"], Outcome.DONE)])
def test_a_policy_with_other_rules_may_be_somebody_else_s(
    rules: list[str], outcome: Outcome, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP, method="POST")
    lost = InMemoryJournal()
    with pytest.raises(OutcomeUnclear):
        backend.create_policy("new", rules=["a", "B"], journal=lost)
    ontap.world.add_policy("vs1", "new", [[rule] for rule in rules])

    assert reconciled(backend, lost, "create_policy", {"policy": "new", "rules": ["a", "B"]}).outcome is outcome
