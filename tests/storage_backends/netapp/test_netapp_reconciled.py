"""What another worker makes of a change that was lost, when others have changed something since."""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import (
    AlreadyExists,
    NoSuchVolume,
    OutcomeUnclear,
    StorageError,
)
from storage_backends.journal import InMemoryJournal, ShuttingDown
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.netapp.changes import CHANGES, attempt, furnish
from tests.storage_backends.netapp.lost_changes import Stopping, StoppingAtJob, reconciled, record_of
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.fixture
def backend(ontap: Simulator) -> StorageBackend:
    furnish(ontap)
    return open_backend(ontap)


def test_a_volume_whose_comment_the_user_s_has_replaced_is_ours(backend: StorageBackend, ontap: Simulator) -> None:
    settings = {"comment": "x" * 1023, "caching_policy": "all"}
    ontap.fault(Kind.DROP, method="PATCH", path="/private/cli/volume")
    lost = InMemoryJournal()
    with pytest.raises(OutcomeUnclear):
        backend.create_volume("new", journal=lost, **settings)  # type: ignore[arg-type]
    # No filer takes more; what does not fit beside the job's id follows in a later step.
    assert len(ontap.changes_sent()[0].body["comment"]) <= 1023

    result = reconciled(backend, lost, "create_volume", {"volume": "new", **settings})

    assert result.outcome is Outcome.DONE
    assert (result.value.comment, result.value.caching_policy) == ("x" * 1023, "all")


def test_a_volume_with_the_user_s_comment_may_be_another_one(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP, method="POST")
    lost = InMemoryJournal()
    with pytest.raises(OutcomeUnclear):
        backend.create_volume("new", journal=lost, comment="for the team")
    ontap.world.add_volume("new", comment="for the team", nas={"path": "/new"})

    result = reconciled(backend, lost, "create_volume", {"volume": "new", "comment": "for the team"})

    assert (result.outcome, type(result.error)) == (Outcome.NOT_DONE, AlreadyExists)


@pytest.mark.parametrize(("comment", "outcome"), [("theirs", Outcome.NOT_DONE), (None, Outcome.UNKNOWN)])
def test_a_volume_with_another_comment_is_not_completed(
    comment: str | None, outcome: Outcome, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP, method="PATCH")
    _, error, lost = attempt(backend, "create in three steps")
    assert isinstance(error, OutcomeUnclear)
    record_of(ontap, "new")["comment"] = comment
    sent = len(ontap.changes_sent())

    assert reconciled(backend, lost, *CHANGES["create in three steps"]).outcome is outcome
    assert len(ontap.changes_sent()) == sent


@pytest.mark.parametrize("is_done", [True, False])
@pytest.mark.parametrize("change", ["create in three steps", "clone with its own"])
def test_another_volume_that_has_the_name_since_is_not_changed(
    change: str, is_done: bool, backend: StorageBackend, ontap: Simulator
) -> None:
    """A later step of the creation is lost; then another client deletes the volume, and makes another one."""
    operation, arguments = CHANGES[change]
    lost = StoppingAtJob("configure")
    if not is_done:
        ontap.fault(Kind.DROP, method="PATCH")
    with pytest.raises(ShuttingDown if is_done else OutcomeUnclear):
        getattr(backend, operation)(**arguments, journal=lost)
    assert backend.list_volumes(journal=InMemoryJournal())  # By now the job has ended.
    made = ontap.world.volumes.pop(lost.facts["volume_uuid"])
    ontap.world.add_volume(made["name"], comment=made["comment"])
    sent = len(ontap.changes_sent())

    result = reconciled(backend, lost, operation, arguments)

    assert len(ontap.changes_sent()) == sent
    assert (result.outcome, type(result.error)) == (Outcome.NOT_DONE, NoSuchVolume)
    assert isinstance(result.error, StorageError)
    assert result.error.detail.startswith("The change was made in part")


@pytest.mark.parametrize(
    ("more", "path", "outcome"),
    [
        ({}, "/new", Outcome.UNKNOWN),
        ({}, "/elsewhere", Outcome.NOT_DONE),
        ({"junction_path": "/elsewhere"}, "/elsewhere", Outcome.UNKNOWN),
        ({"junction_path": "/elsewhere"}, "/new", Outcome.NOT_DONE),
    ],
)
def test_a_volume_without_a_comment_may_be_ours_where_we_wanted_it(
    more: dict[str, Any], path: str, outcome: Outcome, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP, method="POST")
    lost = InMemoryJournal()
    with pytest.raises(OutcomeUnclear):
        backend.create_volume("new", journal=lost, **more)
    ontap.world.add_volume("new", nas={"path": path})

    assert reconciled(backend, lost, "create_volume", {"volume": "new", **more}).outcome is outcome


@pytest.mark.parametrize(("change", "method"), [("purge", "DELETE"), ("reinstate", "PATCH")])
def test_no_step_follows_one_that_did_not_arrive(
    backend: StorageBackend, ontap: Simulator, change: str, method: str
) -> None:
    ontap.fault(Kind.DROP, method=method)
    _, error, lost = attempt(backend, change)
    assert isinstance(error, OutcomeUnclear)
    sent = len(ontap.changes_sent())

    assert reconciled(backend, lost, *CHANGES[change]).outcome is Outcome.NOT_DONE
    assert len(ontap.changes_sent()) == sent


def test_a_snapshot_made_by_others_after_the_purge_is_not_ours(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.REFUSE, method="POST", status=409, code=525062)
    lost = Stopping()  # For the end of the purge.
    operation, arguments = CHANGES["purge"]
    with pytest.raises(ShuttingDown):
        getattr(backend, operation)(**arguments, journal=lost)
    full = next(record for record in ontap.world.volumes.values() if record["name"] == "full")
    ontap.world.add_snapshot(full, "three")

    result = reconciled(backend, lost, *CHANGES["purge"])

    assert (result.outcome, type(result.error)) == (Outcome.NOT_DONE, AlreadyExists)


@pytest.mark.parametrize(("is_allowed", "code"), [(False, 525062), (True, 524486)])
def test_nothing_is_purged_where_it_is_not_allowed_or_useless(
    is_allowed: bool, code: int, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.JOB_FAILS, method="POST", code=code)
    lost, arguments = Stopping(), {"volume": "full", "name": "three", "purge_old_if_needed": is_allowed}
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


def test_a_policy_that_is_still_there_was_not_deleted(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP, method="DELETE")
    _, error, lost = attempt(backend, "delete policy")
    assert isinstance(error, OutcomeUnclear)

    assert reconciled(backend, lost, *CHANGES["delete policy"]).outcome is Outcome.NOT_DONE


@pytest.mark.parametrize(("path", "outcome"), [("/BACK", Outcome.DONE), ("/elsewhere", Outcome.UNKNOWN)])
def test_a_volume_that_is_mounted_elsewhere_meanwhile(
    path: str, outcome: Outcome, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP, method="PATCH", after=1)
    _, error, lost = attempt(backend, "reinstate")
    assert isinstance(error, OutcomeUnclear)
    record_of(ontap, "out")["nas"]["path"] = path

    assert reconciled(backend, lost, *CHANGES["reinstate"]).outcome is outcome


@pytest.mark.parametrize(
    ("path", "outcome"), [("/out", Outcome.DONE), ("/elsewhere", Outcome.UNKNOWN), ("", Outcome.DONE)]
)
def test_a_volume_without_a_requested_path_is_expected_at_its_name(
    path: str, outcome: Outcome, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP, method="PATCH", after=1)
    lost = InMemoryJournal()
    with pytest.raises(OutcomeUnclear):
        backend.reinstate_volume("out", journal=lost)
    volume = record_of(ontap, "out")
    volume["nas"] = {"path": path} if path else {}

    assert reconciled(backend, lost, "reinstate_volume", {"volume": "out"}).outcome is outcome
    assert volume["nas"]["path"] == (path or "/out")


@pytest.mark.parametrize(("more", "path"), [({}, "/copy"), ({"junction_path": "/there"}, "/there")])
def test_a_clone_is_mounted_at_its_path_or_below_its_name(
    more: dict[str, Any], path: str, backend: StorageBackend, ontap: Simulator
) -> None:
    operation, arguments = CHANGES["clone with its own"]
    ontap.fault(Kind.DROP, method="PATCH")
    lost = InMemoryJournal()
    with pytest.raises(OutcomeUnclear):
        getattr(backend, operation)(**arguments, **more, journal=lost)
    record_of(ontap, "copy")["nas"] = {}

    result = reconciled(backend, lost, operation, arguments | more)

    assert (result.outcome, result.value.junction_path) == (Outcome.DONE, path)
    assert result.value.active_policy_name == "team"


def test_a_change_of_a_volume_deleted_since_was_not_done(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP, method="PATCH")
    _, error, lost = attempt(backend, "update")
    assert isinstance(error, OutcomeUnclear)
    ontap.world.volumes.clear()

    result = reconciled(backend, lost, *CHANGES["update"])

    assert (result.outcome, type(result.error)) == (Outcome.NOT_DONE, NoSuchVolume)


def test_a_step_that_is_refused_later_is_reported_as_such(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.DROP, method="PATCH", after=1)
    _, error, lost = attempt(backend, "update in two steps")
    assert isinstance(error, OutcomeUnclear)
    ontap.faults.clear()
    ontap.fault(Kind.REFUSE, method="PATCH", status=400, code=262247)

    result = reconciled(backend, lost, *CHANGES["update in two steps"])

    assert result.outcome is Outcome.NOT_DONE
    assert isinstance(result.error, StorageError)
    assert result.error.detail.startswith("The change was made in part")


@pytest.mark.parametrize(
    ("rules", "rights", "outcome"),
    [
        (["b", "a"], {}, Outcome.UNKNOWN),
        (["A", "b"], {}, Outcome.DONE),
        (["a", "b"], {"rw_rule": ["never"]}, Outcome.UNKNOWN),
    ],
)
def test_a_policy_with_other_rules_may_be_another_one(
    rules: list[str], rights: dict[str, Any], outcome: Outcome, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP, method="POST")
    lost = InMemoryJournal()
    with pytest.raises(OutcomeUnclear):
        backend.create_policy("new", rules=["a", "B"], journal=lost)
    policy = ontap.world.add_policy("vs1", "new", [[rule] for rule in rules])
    policy["rules"][1] |= rights

    assert reconciled(backend, lost, "create_policy", {"policy": "new", "rules": ["a", "B"]}).outcome is outcome


def test_a_read_that_is_refused_after_the_missing_steps_ends_nothing(backend: StorageBackend, ontap: Simulator) -> None:
    """They were carried out: the next look finds them."""
    ontap.fault(Kind.DROP, method="PATCH", after=1)
    _, error, lost = attempt(backend, "reinstate")
    assert isinstance(error, OutcomeUnclear)
    ontap.fault(
        Kind.REFUSE,
        method="GET",
        path="/storage/volumes/[^/]*",
        after=1,
        status=500,
        code=65541,
        times=9,
        headers={"Retry-After": "0"},
    )

    with pytest.raises(OutcomeUnclear):
        reconciled(backend, lost, *CHANGES["reinstate"])

    ontap.faults.clear()
    assert reconciled(backend, lost, *CHANGES["reinstate"]).outcome is Outcome.DONE
