"""The steps of a change: what is sent for each, and what is reported when a later one fails."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

from storage_backends.base import StorageBackend
from storage_backends.errors import (
    InvalidRequest,
    NoSuchVolume,
    NotFound,
    OutcomeUnclear,
    ResourceBusy,
    StorageError,
)
from storage_backends.journal import InMemoryJournal
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
def test_the_job_of_the_filer_is_read_at_once(change: str, backend: StorageBackend, ontap: Simulator) -> None:
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
def test_a_deleted_object_is_reported(change: str, code: str, backend: StorageBackend, ontap: Simulator) -> None:
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
            (409, 524486, ResourceBusy, 3),  # Busy: tried again, for a while.
            (503, 0, OutcomeUnclear, 3),
            (400, 262185, StorageError, 2),
        ],
    )
    def test_a_refused_later_step(
        self,
        status: int,
        code: int,
        kind: type[StorageError],
        sent: int,
        backend: StorageBackend,
        ontap: Simulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # The first refusal comes in time, the second one too late.
        monkeypatch.setattr(mutation, "PAUSE_S", 0.0)
        monkeypatch.setattr(mutation, "time", SimpleNamespace(monotonic=count(step=mutation.PATIENCE_S).__next__))
        ontap.fault(Kind.REFUSE, method="PATCH", path="/private/cli/volume", times=99, status=status, code=code)

        _, error, _ = attempt(backend, "update in two steps")

        assert isinstance(error, kind)
        assert (error.transient, error.retryable) == (False, False)
        assert error.detail.startswith("The change was made in part; ")
        assert len(ontap.changes_sent()) == sent

    def test_a_busy_filer_is_tried_again_after_pauses(
        self, backend: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Noting(InMemoryJournal):
            def wait(self, seconds: float) -> None:
                pauses_s.append(seconds)

        pauses_s: list[float] = []
        monkeypatch.setattr(mutation, "PAUSE_S", 7.0)
        ontap.fault(Kind.REFUSE, method="PATCH", path="/private/cli/volume", times=3, status=409, code=524486)
        operation, arguments = CHANGES["update in two steps"]

        assert getattr(backend, operation)(**arguments, journal=Noting()).caching_policy == "all"
        assert pauses_s.count(7.0) == 3

    def test_progress_counts_steps(self, backend: StorageBackend) -> None:
        _, _, journal = attempt(backend, "create in three steps")

        progress = [(current, step) for current, _, unit, step in journal.progress_calls if unit == "steps"]
        assert progress == [(0, "create"), (1, "configure"), (2, "caching-policy")]


@pytest.mark.parametrize("change", ["create", "update"])
@pytest.mark.parametrize("code", [1703954, 918271])
def test_a_missing_policy_is_reported_with_its_pointer(
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

    def test_a_job_in_an_unknown_state_is_in_doubt(self, backend: StorageBackend, ontap: Simulator) -> None:
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
    def test_an_answer_that_says_done_is_used_unless_the_job_failed(
        self, fault: Kind, backend: StorageBackend, ontap: Simulator
    ) -> None:
        def done(request: Request, reply: Reply) -> Reply | None:
            return Reply(200, reply.body) if request.method == "PATCH" else None

        after_each(ontap, done)
        ontap.fault(fault, method="PATCH", code=524486)

        value, error, _ = attempt(backend, "update")

        assert isinstance(error, ResourceBusy) if fault is Kind.JOB_FAILS else value.name == "home"
