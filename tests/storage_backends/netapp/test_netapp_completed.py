"""How a lost change is completed by another worker."""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.base import Outcome, ReconciledOutcome, StorageBackend
from storage_backends.errors import (
    BackendTimeout,
    BackendUnavailable,
    OutcomeUnclear,
    ResourceBusy,
    StorageError,
)
from storage_backends.journal import InMemoryJournal, ShuttingDown
from tests.ontap_simulator import Kind, Simulator
from tests.ontap_simulator.exchange import Reply, Request
from tests.ontap_simulator.world import full_rule
from tests.storage_backends.netapp.changes import CHANGES, attempt, furnish
from tests.storage_backends.netapp.concurrent_changes import after_each
from tests.storage_backends.netapp.journals import clients
from tests.storage_backends.netapp.lost_changes import Stopping, reconciled, record_of
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.fixture
def backend(ontap: Simulator) -> StorageBackend:
    furnish(ontap)
    return open_backend(ontap)


@pytest.mark.parametrize(
    ("kind", "what", "error"),
    [
        (Kind.DROP, {"method": "GET", "path": "/protocols/locks", "times": 9}, BackendUnavailable),
        (Kind.HANG, {"method": "GET", "path": "/protocols/locks", "times": 9}, BackendTimeout),
        (Kind.DROP, {"method": "DELETE"}, OutcomeUnclear),
    ],
)
def test_a_change_that_cannot_be_completed_now_is_not_reported_as_not_done(
    kind: Kind, what: dict[str, Any], error: type[StorageError], backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP, method="DELETE")
    _, unclear, lost = attempt(backend, "break locks")
    assert isinstance(unclear, OutcomeUnclear)
    ontap.fault(kind, **what)

    short_timeout = open_backend(ontap, timeout_s=0.2) if kind is Kind.HANG else backend
    with pytest.raises(error):
        reconciled(short_timeout, lost, *CHANGES["break locks"])

    ontap.faults.clear()
    assert reconciled(backend, lost, *CHANGES["break locks"]).outcome is Outcome.DONE


def test_a_later_step_is_completed_despite_changes_of_others(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP, method="PATCH", after=1)
    _, error, lost = attempt(backend, "update in two steps")
    assert isinstance(error, OutcomeUnclear)
    ontap.faults.clear()
    backend.update_volume("home", journal=InMemoryJournal(), size_total=10**9)

    result = reconciled(backend, lost, *CHANGES["update in two steps"])

    assert (result.outcome, result.value.caching_policy) == (Outcome.DONE, "all")
    assert result.value.size_total == pytest.approx(10**9, abs=8192)  # What others have set since stays.


def test_a_clone_that_was_split_since_is_ours_once_a_later_step_was_sent(
    backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP, method="PATCH")
    _, error, lost = attempt(backend, "clone with its own")
    assert isinstance(error, OutcomeUnclear)
    del record_of(ontap, "copy")["clone"]

    assert reconciled(backend, lost, *CHANGES["clone with its own"]).outcome is Outcome.DONE


def test_a_change_of_a_policy_deleted_since_was_not_done(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP, method="POST")
    _, error, lost = attempt(backend, "add rule")
    assert isinstance(error, OutcomeUnclear)
    backend.delete_policy("team", journal=InMemoryJournal())

    # It existed when the change was submitted: the client gets no error about a wrong name.
    assert reconciled(backend, lost, *CHANGES["add rule"]) == ReconciledOutcome(Outcome.NOT_DONE)


@pytest.mark.parametrize("change", ["create", "clone", "make snapshot"])
def test_the_object_of_a_successful_job_is_ours_despite_later_changes(
    change: str, backend: StorageBackend, ontap: Simulator
) -> None:
    lost, (operation, arguments) = Stopping(), CHANGES[change]
    with pytest.raises(ShuttingDown):
        getattr(backend, operation)(**arguments, journal=lost)
    assert backend.list_volumes(journal=InMemoryJournal())  # By now the job has ended.
    made = [snapshot for snapshots in ontap.world.snapshots.values() for snapshot in snapshots.values()]
    for record in [*ontap.world.volumes.values(), *made]:
        record.pop("comment", None)
        record.pop("clone", None)

    assert reconciled(backend, lost, operation, arguments).outcome is Outcome.DONE


def test_only_one_snapshot_is_purged(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP_AFTER, method="DELETE")
    _, error, lost = attempt(backend, "purge")
    assert isinstance(error, OutcomeUnclear)

    assert reconciled(backend, lost, *CHANGES["purge"]).outcome is Outcome.DONE
    names = [snapshot.name for snapshot in backend.list_snapshots("full", journal=InMemoryJournal())]
    assert names == ["two", "nearly", "three"]


@pytest.mark.parametrize("rule", ["B.Example.org", "192.0.2.7/32"])
def test_a_rule_is_found_in_its_canonical_form(rule: str, backend: StorageBackend, ontap: Simulator) -> None:
    for operation, method in (("ensure_policy_rule_present", "POST"), ("ensure_policy_rule_absent", "DELETE")):
        ontap.fault(Kind.DROP_AFTER, method=method)
        lost = InMemoryJournal()
        with pytest.raises(OutcomeUnclear):
            getattr(backend, operation)("team", rule, journal=lost)
        assert reconciled(backend, lost, operation, {"policy": "team", "rule": rule}).outcome is Outcome.DONE


def test_a_rule_of_another_client_with_fewer_rights_is_not_ours(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP, method="POST")
    _, error, lost = attempt(backend, "add rule")
    assert isinstance(error, OutcomeUnclear)
    policy = next(policy for policy in ontap.world.policies.values() if policy["name"] == "team")
    policy["rules"].append(full_rule(7, ["b"], rw_rule=["never"]))

    result = reconciled(backend, lost, *CHANGES["add rule"])

    assert (result.outcome, type(result.error)) == (Outcome.NOT_DONE, ResourceBusy)


def test_a_snapshot_is_made_also_where_another_client_has_purged(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.REFUSE, method="POST", status=409, code=525062)
    ontap.fault(Kind.JOB_FAILS, method="DELETE", code=4)
    lost, (operation, arguments) = Stopping(), CHANGES["purge"]
    with pytest.raises(ShuttingDown):
        getattr(backend, operation)(**arguments, journal=lost)
    del ontap.world.snapshots[lost.facts["volume_uuid"]][lost.facts["snapshot_uuid"]]

    assert reconciled(backend, lost, operation, arguments).outcome is Outcome.DONE
    assert [seen.method for seen in ontap.changes_sent()] == ["POST", "DELETE", "POST"]


def test_a_rule_added_again_after_its_removal_stays(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP_AFTER, method="DELETE")
    _, error, lost = attempt(backend, "remove rule")
    assert isinstance(error, OutcomeUnclear)
    policy = next(policy for policy in ontap.world.policies.values() if policy["name"] == "team")

    def added(request: Request, reply: Reply) -> None:
        if request.path.endswith("/rules") and not policy["rules"]:
            policy["rules"].append(full_rule(1, ["a"]))

    after_each(ontap, added)
    assert reconciled(backend, lost, *CHANGES["remove rule"]).outcome is Outcome.DONE
    assert clients(policy) == [["a"]]


def test_a_removal_of_unknown_progress_is_not_repeated(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP, method="DELETE")
    _, error, lost = attempt(backend, "remove rule")
    assert isinstance(error, OutcomeUnclear)
    del lost.facts["holders"]  # As another version may record it.

    assert reconciled(backend, lost, *CHANGES["remove rule"]).outcome is Outcome.NOT_DONE


def test_a_partly_removed_rule_is_removed_completely(backend: StorageBackend, ontap: Simulator) -> None:
    policy = ontap.world.add_policy("vs1", "parts", [["a"], ["b"], ["a"], ["a", "c"]])
    ontap.fault(Kind.DROP, method="DELETE", after=1)
    lost = InMemoryJournal()
    with pytest.raises(OutcomeUnclear):
        backend.ensure_policy_rule_absent("parts", "a", journal=lost)
    # One of three: another client may have removed it.
    arguments = {"policy": "parts", "rule": "a"}
    assert reconciled(backend, lost, "ensure_policy_rule_absent", arguments).outcome is Outcome.NOT_DONE
    policy["rules"].pop(1)

    result = reconciled(backend, lost, "ensure_policy_rule_absent", arguments)

    assert (result.outcome, result.value.rules) == (Outcome.DONE, ("b", "c"))


class _Prompt(InMemoryJournal):
    """Does not wait for anything."""

    def wait(self, seconds: float) -> None:
        assert seconds < 0.05, "it waits though the outcome is known"


def test_a_completed_change_is_reported_at_once(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP_AFTER, method="POST")
    _, error, lost = attempt(backend, "make policy")
    assert isinstance(error, OutcomeUnclear)

    assert backend.reconcile(*CHANGES["make policy"], lost.state(), journal=_Prompt()).outcome is Outcome.DONE


def test_a_change_whose_job_succeeded_is_done_despite_later_changes(backend: StorageBackend, ontap: Simulator) -> None:
    lost, (operation, arguments) = Stopping(), CHANGES["update"]
    with pytest.raises(ShuttingDown):
        getattr(backend, operation)(**arguments, journal=lost)
    backend.update_volume("home", journal=InMemoryJournal(), size_total=10**9, active_policy_name="default")
    with ontap.world.lock:
        ontap.world.job_seconds = 3600.0
        ontap.world.start(lost.facts["url"], "vs1", lambda: None)

    result = backend.reconcile(operation, arguments, lost.state(), journal=_Prompt())

    assert (result.outcome, result.value.active_policy_name) == (Outcome.DONE, "default")


@pytest.mark.parametrize(("fault", "outcome"), [(Kind.DROP, Outcome.NOT_DONE), (Kind.DROP_AFTER, Outcome.DONE)])
def test_a_volume_without_a_path_is_restricted_in_one_step(
    fault: Kind, outcome: Outcome, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.world.add_volume("unmounted")
    ontap.fault(fault, method="PATCH")
    lost = InMemoryJournal()
    with pytest.raises(OutcomeUnclear):
        backend.restrict_volume("unmounted", journal=lost)

    assert reconciled(backend, lost, "restrict_volume", {"volume": "unmounted"}).outcome is outcome
    assert len(ontap.changes_sent()) == 1
