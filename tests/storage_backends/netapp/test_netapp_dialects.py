"""Each operation on filers that answer otherwise than the simulator of the other tests: nothing promises their form.

What the operations do is tried in the conformance suite, once; here is what the ways of answering change: how an answer
is read, how a change's end is learnt, what is asked again, and what a field that is missing costs.
"""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.base import Outcome
from storage_backends.errors import OutcomeUnclear
from storage_backends.journal import InMemoryJournal
from tests.ontap_simulator import DIALECTS, Dialect, Kind, Simulator
from tests.storage_backends.netapp.changes import CHANGES, STEPS, attempt, furnish, repeated, sent_twice, settled
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.fixture(params=list(DIALECTS))
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_made_once(change: str, ontap: Simulator) -> None:
    furnish(ontap)

    value, error, _ = attempt(open_backend(ontap), change)

    assert error is None
    assert value is None or value.name in {"new", "copy", "home", "out", "three", "team", "shared"}
    assert len(ontap.world.effects) == (2 if change == "purge" else STEPS.get(change, 1))
    assert repeated(ontap) == []


@pytest.mark.parametrize("fault", [Kind.DROP, Kind.TRUNCATE])
@pytest.mark.parametrize("change", ["create", "roll back", "remove rule"])
def test_a_lost_answer_is_reconciled(change: str, fault: Kind, ontap: Simulator) -> None:
    furnish(ontap)
    ontap.fault(fault, method="POST|PATCH|DELETE")
    backend = open_backend(ontap, timeout_s=0.4)

    _, error, journal = attempt(backend, change)

    assert isinstance(error, OutcomeUnclear)
    assert settled(backend, change, journal) is (Outcome.NOT_DONE if fault is Kind.DROP else Outcome.DONE)
    assert len(ontap.world.effects) == (0 if fault is Kind.DROP else 1)
    assert sent_twice(ontap) == []


def test_every_kind_of_object_is_read(ontap: Simulator) -> None:
    furnish(ontap)
    for number in range(5):
        ontap.world.add_volume(f"v{number}", aggregate="aggr2_n2", nas={"path": f"/v{number}"})
    backend = open_backend(ontap)

    listed = backend.list_volumes(journal=InMemoryJournal())

    assert [volume.name for volume in listed] == ["home", "full", *(f"v{number}" for number in range(5))]
    assert [volume.filer_address for volume in listed] == ["node1"] * 2 + ["node2"] * 5
    assert all("T" in (volume.creation_time or "") for volume in listed)
    for volume in (backend.get_volume(name, journal=InMemoryJournal()) for name in ("v1", ":/v1")):
        assert (volume.name, volume.filer_address, volume.snapshot_policy) == ("v1", "node2", "default")
    assert [volume.name for volume in backend.list_restricted_volumes(journal=InMemoryJournal())] == ["out"]
    snapshots = backend.list_snapshots("home", journal=InMemoryJournal())
    assert [snapshot.name for snapshot in snapshots] == ["one", "two"]
    assert [lock.host for lock in backend.list_locks("home", journal=InMemoryJournal())] == ["192.0.2.1", "192.0.2.2"]
    policies: Any = {policy.name: policy.rules for policy in backend.list_policies(journal=InMemoryJournal())}
    assert policies == {"default": ("0.0.0.0/0",), "team": ("a",), "shared": ("a", "b", "c", "d")}
    assert backend.get_policy("shared", journal=InMemoryJournal()).rules == policies["shared"]
