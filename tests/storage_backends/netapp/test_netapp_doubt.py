"""Answers that do not tell what they seem to tell: empty ones, vague ones, and what a filer does not keep."""

from __future__ import annotations

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import BackendUnavailable, OutcomeUnclear, StorageError
from storage_backends.journal import InMemoryJournal
from tests.ontap_simulator import Dialect, Kind, Simulator
from tests.storage_backends.netapp.changes import attempt, furnish, settled
from tests.storage_backends.netapp.opening import open_backend


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
def test_a_filer_that_lost_track_of_its_own_change_is_looked_at(
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
    """Notes how long it is asked to wait."""

    waited_s = 0.0

    def wait(self, seconds: float) -> None:
        self.waited_s += seconds


def test_a_filer_that_asks_to_be_left_alone_is_left_alone(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.REFUSE, method="PATCH", status=429, code=262160, headers={"Retry-After": "5"})
    assert isinstance(attempt(backend, "update")[1], BackendUnavailable)
    other = _WaitingJournal()

    backend.get_volume("full", journal=other)

    assert other.waited_s > 0


def test_a_volume_on_a_filer_that_keeps_no_comments_is_not_called_somebody_elses(
    backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.DROP_AFTER, method="POST")
    _, error, journal = attempt(backend, "create")
    for volume in ontap.world.volumes.values():
        volume.pop("comment")

    assert isinstance(error, OutcomeUnclear)
    assert settled(backend, "create", journal) is Outcome.UNKNOWN
