"""The steps of a change: what is sent for each, and what is reported when a later one fails."""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.base import StorageBackend
from storage_backends.errors import (
    AlreadyExists,
    BackendUnavailable,
    InvalidRequest,
    NoSuchSnapshot,
    NoSuchVolume,
    NotFound,
    OutcomeUnclear,
    ResourceBusy,
    StorageError,
)
from storage_backends.journal import InMemoryJournal, ShuttingDown
from storage_backends.netapp.operations import mutation
from tests.ontap_simulator import Kind, Simulator
from tests.ontap_simulator.exchange import Reply, Request
from tests.storage_backends.netapp.changes import CHANGES, WITHOUT_JOB, attempt, furnish
from tests.storage_backends.netapp.concurrent_changes import after_each
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.fixture
def backend(ontap: Simulator) -> StorageBackend:
    furnish(ontap)
    return open_backend(ontap)


@pytest.mark.parametrize("change", [name for name in CHANGES if name not in WITHOUT_JOB])
def test_the_filer_is_asked_for_its_job_at_once(change: str, backend: StorageBackend, ontap: Simulator) -> None:
    """A filer that waits for the end of its job first would leave its uuid unknown as long."""
    attempt(backend, change)

    sent = [dict(seen.query) for seen in ontap.changes_sent() if seen.path.startswith("/storage/")]
    assert sent
    assert {query.get("return_timeout") for query in sent} == {"0"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("update", "no-such-volume"),
        ("make snapshot", "no-such-volume"),
        ("delete snapshot", "no-such-snapshot"),
        ("delete policy", "no-such-policy"),
    ],
)
def test_what_has_gone_meanwhile_is_named(change: str, code: str, backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.REFUSE, method="POST|PATCH|DELETE", status=404, code=4)

    _, error, _ = attempt(backend, change)

    assert isinstance(error, NotFound)
    assert error.code == code
    assert error.backend_error is not None


class TestLaterSteps:
    """A change that is made in part is reported as such, and its job is never just repeated."""

    @pytest.mark.parametrize(
        ("status", "code", "kind", "sent"),
        [
            (409, 917533, ResourceBusy, 2),  # Offline: waiting does not cure it.
            (409, 524486, ResourceBusy, None),  # Busy: tried again, for a while.
            (503, 0, OutcomeUnclear, None),
            (400, 262185, StorageError, 2),
        ],
    )
    def test_a_refusal(
        self,
        status: int,
        code: int,
        kind: type[StorageError],
        sent: int | None,
        backend: StorageBackend,
        ontap: Simulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(mutation, "PATIENCE_S", 0.1)
        ontap.fault(Kind.REFUSE, method="PATCH", path="/private/cli/volume", times=99, status=status, code=code)

        _, error, _ = attempt(backend, "update in two steps")

        assert isinstance(error, kind)
        assert (error.transient, error.retryable) == (False, False)
        assert error.detail.startswith("The change was made in part; ")
        assert len(ontap.changes_sent()) == sent or (sent is None and len(ontap.changes_sent()) > 2)

    def test_steps_are_counted(self, backend: StorageBackend) -> None:
        _, _, journal = attempt(backend, "create in three steps")

        progress = [(current, step) for current, _, unit, step in journal.progress_calls if unit == "steps"]
        assert progress == [(0, "create"), (1, "configure"), (2, "caching-policy")]


@pytest.mark.parametrize("change", ["create", "update"])
@pytest.mark.parametrize("code", [1703954, 918271])
def test_a_policy_that_is_not_there_is_pointed_at(
    change: str, code: int, backend: StorageBackend, ontap: Simulator
) -> None:
    ontap.fault(Kind.REFUSE, method="POST|PATCH", status=400, code=code)

    _, error, _ = attempt(backend, change)

    assert isinstance(error, InvalidRequest)
    assert [field.pointer for field in error.errors] == ["/active_policy_name"]
    assert error.backend_error is not None
    assert error.backend_error.code == str(code)


class TestAnswers:
    """The answer to a change tells whether it is done."""

    def test_a_job_in_a_state_that_nobody_knows_is_in_doubt(self, backend: StorageBackend, ontap: Simulator) -> None:
        def odd(request: Request, reply: Reply) -> None:
            if request.path.startswith("/cluster/jobs/"):
                reply.body["state"] = "reverted"

        after_each(ontap, odd)
        assert isinstance(attempt(backend, "update")[1], OutcomeUnclear)

    def test_a_command_that_found_no_volume_changed_none(self, backend: StorageBackend, ontap: Simulator) -> None:
        def none(request: Request, reply: Reply) -> Reply | None:
            return Reply(200, {"num_records": 0}) if request.path == "/private/cli/volume" else None

        after_each(ontap, none)
        assert isinstance(attempt(backend, "caching")[1], NoSuchVolume)

    def test_a_job_without_a_name_is_in_doubt(self, backend: StorageBackend, ontap: Simulator) -> None:
        def unnamed(request: Request, reply: Reply) -> Reply | None:
            return Reply(202, {}) if request.method == "PATCH" else None

        after_each(ontap, unnamed)
        assert isinstance(attempt(backend, "update")[1], OutcomeUnclear)

    @pytest.mark.parametrize("fault", [Kind.JOB_FAILS, Kind.JOB_VANISHES])
    def test_one_that_says_done_counts_unless_its_job_failed(
        self, fault: Kind, backend: StorageBackend, ontap: Simulator
    ) -> None:
        def done(request: Request, reply: Reply) -> Reply | None:
            return Reply(200, reply.body) if request.method == "PATCH" else None

        after_each(ontap, done)
        ontap.fault(fault, method="PATCH", code=524486)

        value, error, _ = attempt(backend, "update")

        assert isinstance(error, ResourceBusy) if fault is Kind.JOB_FAILS else value.name == "home"


class _Impatient(InMemoryJournal):
    """Has a few seconds left, and notes how long it is asked to wait."""

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


class TestReadsAfterwards:
    """A change that was made and cannot be seen is in doubt; one that was not sent is not."""

    @pytest.mark.parametrize("fault", [Kind.DROP, Kind.HANG])
    def test_a_filer_that_falls_silent(self, fault: Kind, ontap: Simulator) -> None:
        furnish(ontap)
        ontap.fault(fault, method="GET", path="/storage/volumes/.*", times=9)

        with pytest.raises(OutcomeUnclear, match="The change was made"):
            open_backend(ontap, timeout_s=0.2).update_volume("home", journal=_Impatient(0.9), comment="new")

    def test_one_that_falls_silent_before_the_new_object_shows(self, backend: StorageBackend, ontap: Simulator) -> None:
        # The first two ask whether the name and the path are free.
        ontap.fault(Kind.DROP, method="GET", path="/storage/volumes", after=2, times=9)

        with pytest.raises(OutcomeUnclear, match="The change was made"):
            backend.create_volume("new", journal=InMemoryJournal())

    def test_nothing_is_in_doubt_where_nothing_was_sent(self, backend: StorageBackend, ontap: Simulator) -> None:
        ontap.fault(Kind.DROP, method="GET", path="/storage/volumes/.*", times=9)

        with pytest.raises(BackendUnavailable):
            backend.update_volume("home", journal=InMemoryJournal(), comment="")

        assert ontap.changes_sent() == []

    def test_time_is_left_to_record_the_end(self, backend: StorageBackend, ontap: Simulator) -> None:
        ontap.world.hidden_seconds = 3600.0
        journal = _Impatient(mutation.LEAST_LEFT_S)

        with pytest.raises(OutcomeUnclear):
            backend.create_volume("new", journal=journal)

        assert journal.waited_s < 1

    def test_a_filer_that_asks_to_be_left_alone_is_so_before_the_intent(
        self, backend: StorageBackend, ontap: Simulator
    ) -> None:
        """What was never sent is not in doubt."""
        ontap.fault(Kind.REFUSE, method="GET", path="/storage/volumes", status=503, headers={"Retry-After": "5"})
        journal = _Stopping(waits=3)  # For the look-up: before its repetition, twice. For the change: once.

        with pytest.raises(ShuttingDown):
            backend.update_volume("home", journal=journal, comment="new")

        assert (journal.step, ontap.changes_sent()) == (None, [])


class _Noting(InMemoryJournal):
    """Notes how long it is asked to wait, and does not."""

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


@pytest.mark.parametrize("status", [429, 503])
def test_what_one_request_was_told_holds_for_all(status: int, backend: StorageBackend, ontap: Simulator) -> None:
    ontap.fault(Kind.REFUSE, method="PATCH", status=status, headers={"Retry-After": "3"})
    with pytest.raises(BackendUnavailable):
        backend.update_volume("home", journal=InMemoryJournal(), comment="new")
    journal = _Noting()

    assert backend.get_volume("home", journal=journal).name == "home"

    assert 2 < journal.waits[0] <= 3


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
    def test_it_is_refused(
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
