"""What is read after a change, and what is checked before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import (
    AlreadyExists,
    BackendUnavailable,
    NoSuchSnapshot,
    NoSuchVolume,
    OutcomeUnclear,
    ResourceBusy,
    StorageError,
)
from storage_backends.journal import InMemoryJournal, ShuttingDown
from storage_backends.netapp.operations import mutation
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.netapp.changes import attempt, furnish, settled
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.fixture
def backend(ontap: Simulator) -> StorageBackend:
    furnish(ontap)
    return open_backend(ontap)


class _ShortTimeJournal(InMemoryJournal):
    """Has a few seconds left, and records the waits."""

    def __init__(self, seconds_left: float) -> None:
        super().__init__()
        self._seconds_left = seconds_left
        self.waited_s = 0.0

    @property
    def seconds_left(self) -> float:
        return self._seconds_left

    def wait(self, seconds: float) -> None:
        self.waited_s += seconds
        super().wait(seconds)


class _Stopping(InMemoryJournal):
    """Is that of a worker that shuts down while it waits."""

    def __init__(self, *, waits: int) -> None:
        super().__init__()
        self._waits = waits

    def wait(self, seconds: float) -> None:
        self._waits -= 1
        if not self._waits:
            raise ShuttingDown


#: The read is repeated without a pause.
_AT_ONCE = {"Retry-After": "0"}


class TestReadsAfterwards:
    """A change that was made and cannot be seen is in doubt; one that was not sent is not."""

    @pytest.mark.parametrize("fault", [Kind.DROP, Kind.HANG])
    def test_a_timeout_leaves_the_change_in_doubt(self, fault: Kind, ontap: Simulator) -> None:
        furnish(ontap)
        ontap.fault(fault, method="GET", path="/storage/volumes/.*", times=9)

        with pytest.raises(OutcomeUnclear, match="The change was made"):
            open_backend(ontap, timeout_s=0.2).update_volume("home", journal=_ShortTimeJournal(0.9), comment="new")

    def test_a_timeout_before_the_object_is_visible(self, backend: StorageBackend, ontap: Simulator) -> None:
        # The first two ask whether the name and the path are free.
        ontap.fault(Kind.DROP, method="GET", path="/storage/volumes", after=2, times=9)

        with pytest.raises(OutcomeUnclear, match="The change was made"):
            backend.create_volume("new", journal=InMemoryJournal())

    @pytest.mark.parametrize(
        ("change", "path"), [("update", "/storage/volumes/.*"), ("make snapshot", "/storage/volumes/.*/snapshots")]
    )
    def test_a_refusal_of_the_read(self, change: str, path: str, backend: StorageBackend, ontap: Simulator) -> None:
        """Why it refuses says nothing about the change, which was made."""
        ontap.fault(Kind.REFUSE, method="GET", path=path, status=500, code=65541, times=9, headers=_AT_ONCE)

        _, error, journal = attempt(backend, change)

        assert isinstance(error, OutcomeUnclear)
        assert error.backend_error is not None
        assert error.backend_error.code == "65541"
        ontap.faults.clear()
        assert settled(backend, change, journal) is Outcome.DONE

    def test_nothing_is_in_doubt_where_nothing_was_sent(self, backend: StorageBackend, ontap: Simulator) -> None:
        ontap.fault(Kind.DROP, method="GET", path="/storage/volumes/.*", times=9)

        with pytest.raises(BackendUnavailable):
            backend.update_volume("home", journal=InMemoryJournal(), comment="")

        assert ontap.changes_sent() == []

    def test_time_is_left_to_record_the_end(self, backend: StorageBackend, ontap: Simulator) -> None:
        ontap.world.hidden_seconds = 3600.0
        journal = _ShortTimeJournal(mutation.LEAST_LEFT_S)

        with pytest.raises(OutcomeUnclear):
            backend.create_volume("new", journal=journal)

        assert journal.waited_s < 1

    def test_retry_after_is_respected_before_the_intent(self, backend: StorageBackend, ontap: Simulator) -> None:
        """What was never sent is not in doubt."""
        ontap.fault(Kind.REFUSE, method="GET", path="/storage/volumes", status=503, headers={"Retry-After": "5"})
        journal = _Stopping(waits=3)  # For the look-up: before its repetition, twice. For the change: once.

        with pytest.raises(ShuttingDown):
            backend.update_volume("home", journal=journal, comment="new")

        assert (journal.step, ontap.changes_sent()) == (None, [])


class _Noting(InMemoryJournal):
    """Records the waits, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.mark.parametrize(("retry_after", "pause_s"), [("2", 2.0), ("60", 5.0), ("", 1.0)])
def test_a_read_is_repeated_when_the_filer_says(
    retry_after: str, pause_s: float, backend: StorageBackend, ontap: Simulator
) -> None:
    headers = {"Retry-After": retry_after} if retry_after else {}
    ontap.fault(Kind.REFUSE, method="GET", status=503, headers=headers)
    journal = _Noting()

    assert backend.get_volume("home", journal=journal).name == "home"

    assert journal.waits[0] == pause_s
    assert all(pause_s - 1 < wait <= pause_s for wait in journal.waits)


@pytest.mark.parametrize(("status", "pause_s"), [(429, 3), (503, 3), (503, 1)])
def test_retry_after_of_one_request_applies_to_all(
    status: int, pause_s: int, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.REFUSE, method="PATCH", status=status, headers={"Retry-After": str(pause_s)})
    with pytest.raises(BackendUnavailable):
        backend.update_volume("home", journal=InMemoryJournal(), comment="new")
    journal = _Noting()

    assert backend.get_volume("home", journal=journal).name == "home"

    assert pause_s - 1 < journal.waits[0] <= pause_s


def test_retry_after_of_other_statuses_applies_to_the_request_only(backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.REFUSE, method="PATCH", status=409, code=8, headers={"Retry-After": "3"})
    with pytest.raises(ResourceBusy):
        backend.update_volume("home", journal=InMemoryJournal(), comment="new")
    journal = _Noting()

    assert backend.get_volume("home", journal=journal).name == "home"

    assert journal.waits == []


class TestBeforeAnythingIsSent:
    """What the driver sees by itself needs no intent, and no reconciliation."""

    @pytest.mark.parametrize(
        ("operation", "arguments", "error"),
        [
            ("create_volume", {"volume": "home", "junction_path": "/new"}, AlreadyExists),
            ("create_volume", {"volume": "new", "junction_path": "/users/home"}, AlreadyExists),
            ("clone_volume", {"volume": "home", "from_volume": "full", "from_snapshot": "one"}, AlreadyExists),
            ("clone_volume", {"volume": "new", "from_volume": "home", "from_snapshot": "five"}, NoSuchSnapshot),
            ("clone_volume", {"volume": "new", "from_volume": "five", "from_snapshot": "one"}, NoSuchVolume),
            ("create_policy", {"policy": "team", "rules": ["b"]}, AlreadyExists),
        ],
    )
    def test_an_invalid_request_is_refused(
        self,
        operation: str,
        arguments: dict[str, Any],
        error: type[StorageError],
        backend: StorageBackend,
        ontap: Simulator,
    ) -> None:
        journal = InMemoryJournal()
        with pytest.raises(error):
            getattr(backend, operation)(**arguments, journal=journal)
        assert (ontap.changes_sent(), journal.step) == ([], None)


def test_a_clone_with_a_policy_of_its_own_is_mounted_with_it(backend: StorageBackend, ontap: Simulator) -> None:
    """No client of the copied policy can use it before."""
    assert attempt(backend, "clone with its own")[1] is None

    created, configured = ontap.changes_sent()
    assert "nas" not in created.body
    assert configured.body["nas"] == {"path": "/copy", "export_policy": {"name": "team"}}
