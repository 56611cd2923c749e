"""A vserver that was renamed, stopped or lost: an empty answer is no proof of anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import BackendUnavailable, NoSuchPolicy, NoSuchVolume, OutcomeUnclear, StorageError
from storage_backends.journal import Cancelled, InMemoryJournal
from storage_backends.netapp.ontap import lookups
from tests.ontap_simulator import Kind, Simulator
from tests.ontap_simulator.exchange import Reply, Request
from tests.storage_backends.netapp.changes import CHANGES, attempt, furnish
from tests.storage_backends.netapp.concurrent_changes import after_each
from tests.storage_backends.netapp.signed_in_drivers import open_backend

READS: dict[str, Callable[[StorageBackend, Any], Any]] = {
    "list_volumes": lambda backend, journal: backend.list_volumes(journal=journal),
    "get_volume": lambda backend, journal: backend.get_volume("home", journal=journal),
    "get_volume by path": lambda backend, journal: backend.get_volume(":/users/home", journal=journal),
    "list_restricted_volumes": lambda backend, journal: backend.list_restricted_volumes(journal=journal),
    "list_snapshots": lambda backend, journal: backend.list_snapshots("home", journal=journal),
    "list_locks": lambda backend, journal: backend.list_locks("home", journal=journal),
    "list_policies": lambda backend, journal: backend.list_policies(journal=journal),
    "get_policy": lambda backend, journal: backend.get_policy("team", journal=journal),
    "delete_policy": lambda backend, journal: backend.delete_policy("team", journal=journal),
    "restrict_volume": lambda backend, journal: backend.restrict_volume("home", journal=journal),
    "reinstate_volume": lambda backend, journal: backend.reinstate_volume("out", journal=journal),
    "check": lambda backend, _: backend.check(),
}


@pytest.fixture
def backend(ontap: Simulator) -> StorageBackend:
    furnish(ontap)
    return open_backend(ontap, timeout_s=0.5)


@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize("fate", ["renamed", "stopped"])
def test_no_object_counts_as_missing_while_the_vserver_is(
    what: str, fate: str, backend: StorageBackend, ontap: Simulator
) -> None:
    if fate == "renamed":
        ontap.world.rename_vserver("vs1", "vs1-mc")
    else:
        ontap.world.vservers["vs1"] = "stopped"
        ontap.world.volumes.clear()
        ontap.world.policies.clear()

    with pytest.raises(BackendUnavailable) as refusal:
        READS[what](backend, InMemoryJournal())

    reason = "does not have the configured vserver" if fate == "renamed" else "not in service: it is stopped"
    assert reason in refusal.value.detail
    assert ontap.changes_sent() == []


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("list_volumes", "/storage/volumes"),
        ("list_restricted_volumes", "/storage/volumes"),
        ("list_policies", "/protocols/nfs/export-policies"),
    ],
)
def test_a_rename_in_the_middle_of_a_listing_is_noticed(
    what: str, path: str, backend: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "PAGE", 1)
    ontap.world.add_volume("second", state="restricted")
    handle = ontap.handle

    def renaming(request: Any) -> Any:
        reply = handle(request)
        if request.path == path and "vs1" in ontap.world.vservers:
            ontap.world.rename_vserver("vs1", "vs1-mc")
        return reply

    ontap.handle = renaming  # type: ignore[method-assign]
    with pytest.raises(BackendUnavailable):
        READS[what](backend, InMemoryJournal())


def test_an_object_is_missing_only_on_an_existing_vserver(backend: StorageBackend, ontap: Simulator) -> None:
    for _ in range(3):
        with pytest.raises(NoSuchVolume):
            backend.get_volume("nothing", journal=InMemoryJournal())
    svm_requests = [seen for seen in ontap.requests if seen.path == "/svm/svms"]
    assert len(svm_requests) == 3  # What was known before an empty answer proves nothing about it.
    ontap.world.volumes.clear()
    assert backend.list_volumes(journal=InMemoryJournal()) == []


def test_an_earlier_look_at_the_vserver_proves_nothing(backend: StorageBackend, ontap: Simulator) -> None:
    with pytest.raises(NoSuchVolume):
        backend.get_volume("nothing", journal=InMemoryJournal())
    with pytest.raises(NoSuchPolicy):
        backend.get_policy("nothing", journal=InMemoryJournal())
    ontap.world.rename_vserver("vs1", "vs1-mc")
    with pytest.raises(BackendUnavailable):
        backend.get_volume("nothing", journal=InMemoryJournal())
    with pytest.raises(BackendUnavailable):
        backend.get_policy("nothing", journal=InMemoryJournal())


@pytest.mark.parametrize("change", ["create", "delete policy", "delete snapshot", "restrict", "remove rule"])
def test_a_lost_change_is_not_settled_while_the_vserver_is_not_visible(
    change: str, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP_AFTER, method="POST|PATCH|DELETE")
    _, error, journal = attempt(backend, change)
    assert isinstance(error, OutcomeUnclear)
    operation, arguments = CHANGES[change]
    ontap.world.rename_vserver("vs1", "vs1-mc")
    with pytest.raises(BackendUnavailable):
        backend.reconcile(operation, arguments, journal.state(age_s=3600.0), journal=InMemoryJournal(journal.job_id))

    ontap.world.rename_vserver("vs1-mc", "vs1")

    result = backend.reconcile(
        operation, arguments, journal.state(age_s=3600.0), journal=InMemoryJournal(journal.job_id)
    )
    assert result.outcome is Outcome.DONE


def test_an_account_that_may_not_see_the_vserver_proves_nothing(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.REFUSE, path="/svm/svms", times=9, status=403, code=6)
    with pytest.raises(BackendUnavailable) as refusal:
        backend.get_volume("nothing", journal=InMemoryJournal())
    assert "/svm/svms" in refusal.value.detail
    assert refusal.value.backend_error is not None
    assert refusal.value.backend_error.code == "6"
    ontap.faults.clear()
    ontap.fault(Kind.REFUSE, path="/svm/svms", times=9, status=400, code=987654)
    with pytest.raises(StorageError) as other:
        backend.get_volume("nothing", journal=InMemoryJournal())
    assert "may not" not in other.value.detail


def test_another_vserver_is_not_taken_for_it(backend: StorageBackend, ontap: Simulator) -> None:
    def inexact(request: Request, reply: Reply) -> None:
        for record in reply.body.get("records", ()) if request.path == "/svm/svms" else ():
            record["name"] = "VS1"

    ontap.world.vservers["vs1"] = "starting"
    with pytest.raises(NoSuchVolume):
        backend.get_volume("nothing", journal=InMemoryJournal())
    after_each(ontap, inexact)
    with pytest.raises(BackendUnavailable):
        backend.get_volume("nothing", journal=InMemoryJournal())


def test_a_vserver_whose_state_is_not_visible_counts_as_in_service(backend: StorageBackend, ontap: Simulator) -> None:
    def stateless(request: Request, reply: Reply) -> None:
        for record in reply.body.get("records", ()) if request.path == "/svm/svms" else ():
            del record["state"]

    after_each(ontap, stateless)
    with pytest.raises(NoSuchVolume):
        backend.get_volume("nothing", journal=InMemoryJournal())


def test_a_vserver_that_is_lost_after_a_change_leaves_it_in_doubt(backend: StorageBackend, ontap: Simulator) -> None:
    def lost(request: Request, reply: Reply) -> None:
        if request.path.startswith("/cluster/jobs/"):
            ontap.world.volumes.clear()
            ontap.world.vservers["vs1"] = "stopped"

    after_each(ontap, lost)
    assert isinstance(attempt(backend, "update")[1], OutcomeUnclear)


class _Cancelling(InMemoryJournal):
    @property
    def cancel_requested(self) -> bool:
        return self.uuid is not None


def test_a_cancelled_creation_that_is_not_visible_is_in_doubt(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.world.job_seconds = 30
    handle = ontap.handle

    def renaming(request: Any) -> Any:
        reply = handle(request)
        if request.method == "PATCH":
            ontap.world.rename_vserver("vs1", "vs1-mc")
        return reply

    ontap.handle = renaming  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnclear):
        backend.create_volume("new", journal=_Cancelling())


def test_a_cancelled_job_whose_object_exists_is_not_reported_as_cancelled(
    backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.world.job_seconds = 0.05
    ontap.fault(Kind.JOB_FAILS, method="POST", code=458756)
    ontap.world.add_volume("new")
    backend = open_backend(ontap)
    handle, seen = ontap.handle, []

    def late(request: Any) -> Any:
        # When it was looked whether the name is free the volume was not there yet.
        seen.append(request)
        if request.query.get("name") == "new" and not any(one.method == "POST" for one in seen):
            request.query["name"] = "not-yet"
        return handle(request)

    ontap.handle = late  # type: ignore[method-assign]
    with pytest.raises(Exception) as failure:  # noqa: PT011 - that it is not Cancelled is what counts
        backend.create_volume("new", journal=_Cancelling())
    assert not isinstance(failure.value, Cancelled)
    assert getattr(failure.value, "code", "") == "backend-error"
