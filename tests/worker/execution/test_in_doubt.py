"""What becomes of a job whose driver failed in an unexpected way, or could not tell the outcome: no cause is lost."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from storage_backends.base import StorageBackend
from storage_backends.errors import BackendError, BackendUnavailable, OutcomeUnclear
from storage_backends.journal import InMemoryJournal
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.backends.gateway import BackendGateway
from worker.catalog import resource_types
from worker.jobs.record import State
from worker.listings.repository import Listings
from worker.store.results import CancelResult, ForceResult

WORDS = BackendError("2621574", "This operation is not possible now.")


class Failing:
    """A back-end whose changes fail, before or after they were made; everything else is as usual."""

    def __init__(self, backend: StorageBackend, error: Exception, *, when: str) -> None:
        self._backend, self._error, self._when = backend, error, when

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._backend, name)
        if name in {"reconcile", "get_volume", "check", "close"}:
            return method

        def call(*arguments: Any, journal: Any, **options: Any) -> Any:
            if self._when == "after the change":
                method(*arguments, journal=journal, **options)
            elif self._when == "after the intent":
                journal.record_intent(name)
            raise self._error

        return call


def carried_out(harness: Harness, error: Exception, *, when: str) -> str:
    """Carry a creation out on such a back-end."""
    job_id = harness.accept("create_volume", volume="new")
    backend: Any = Failing(harness.backend, error, when=when)
    harness.node(backend).carry_out(job_id)
    return job_id


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), OutcomeUnclear("no answer came"), redis.ConnectionError("Redis is away")]
)
def test_a_change_that_was_made_is_reconciled_as_done(harness: Harness, error: Exception):
    job_id = carried_out(harness, error, when="after the change")

    assert harness.job(job_id).state is State.RUNNING
    harness.recover(harness.node(), job_id)

    assert harness.job(job_id).state is State.SUCCEEDED
    assert harness.effects()[job_id] is True


def test_an_internal_error_before_the_intent_ends_the_job(harness: Harness):
    job_id = carried_out(harness, RuntimeError("a bug"), when="at once")

    failure = harness.job(job_id).failure
    assert failure is not None
    assert failure.code == "backend-error"
    assert harness.effects() == {}


def test_an_internal_error_after_the_intent_is_reconciled(harness: Harness):
    job_id = carried_out(harness, RuntimeError("a bug"), when="after the intent")

    harness.recover(harness.node(), job_id)

    failure = harness.job(job_id).failure
    assert failure is not None
    assert (failure.code, failure.retryable) == ("backend-error", False)
    assert "was not made" in failure.detail


@pytest.mark.parametrize("is_handed_over", [True, False])
def test_a_change_in_doubt_cannot_be_cancelled(harness: Harness, *, is_handed_over: bool):
    job_id, node = harness.accept("create_volume"), harness.node()
    lease = node.claim(job_id)
    lease.record_intent("create")
    lease.backend_job("a job of the filer", cancellable=True)
    assert harness.job(job_id).cancellable
    if is_handed_over:
        node.claims.hand_over(lease, "")
    else:
        harness.let_time_pass()
        assert harness.scripts.recover_jobs(SUBSYSTEM, 15_000, 5000, 3, 60_000, "token", 1).to_reconcile == [job_id]
    assert not harness.job(job_id).cancellable
    assert harness.jobs.cancel(job_id, "ann") is CancelResult.TOO_LATE


def test_an_operator_settles_a_change_that_was_to_be_cancelled(harness: Harness):
    job_id, node = harness.accept("create_volume"), harness.node()
    lease = node.claim(job_id)
    lease.record_intent("create")
    lease.backend_job("a job of the filer", cancellable=True)
    assert harness.jobs.cancel(job_id, "ann") is CancelResult.CANCELLING
    node.claims.hand_over(lease, "")
    assert harness.jobs.force_outcome(job_id, State.SUCCEEDED, {}, []) is ForceResult.DONE
    assert harness.job(job_id).state is State.SUCCEEDED


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_an_operator_ends_a_job_that_no_worker_takes_over(harness: Harness, *, is_cancelled: bool):
    """Its subsystem was taken out of the configuration: without its own workers no worker reconciles it."""
    job_id, node = harness.accept("create_volume"), harness.node()
    node.claim(job_id)
    if is_cancelled:
        assert harness.jobs.cancel(job_id, "ann") is CancelResult.CANCELLING
    (seconds, _), key = harness.client.time(), f"{PREFIX}job:{job_id}"
    harness.client.hset(key, "lease", (seconds - 110) * 1000)
    assert harness.jobs.force_outcome(job_id, State.FAILED, {}, []) is ForceResult.NOT_IN_DOUBT
    harness.client.hset(key, "lease", (seconds - 121) * 1000)
    assert harness.jobs.force_outcome(job_id, State.FAILED, {}, []) is ForceResult.DONE
    assert harness.job(job_id).state is State.FAILED
    assert not harness.leftovers()
    harness.client.delete(key)
    assert harness.jobs.force_outcome(job_id, State.FAILED, {}, []) is ForceResult.NOT_IN_DOUBT


def test_the_error_of_the_storage_system_is_kept_after_reconciliation(harness: Harness):
    job_id = carried_out(harness, OutcomeUnclear("It does not tell.", backend_error=WORDS), when="after the intent")

    harness.recover(harness.node(), job_id)

    failure = harness.job(job_id).failure
    assert failure is not None
    assert (failure.code, failure.retryable) == ("backend-error", False)
    assert failure.backend_error == {"code": "2621574", "message": "This operation is not possible now."}
    assert "was not made" in failure.detail


def test_a_status_without_a_message_fails_as_a_timeout(harness: Harness):
    page = BackendError("502", "HTTP status 502")
    job_id = carried_out(harness, OutcomeUnclear("It does not tell.", backend_error=page), when="after the intent")

    harness.recover(harness.node(), job_id)

    failure = harness.job(job_id).failure
    assert failure is not None
    assert (failure.code, failure.retryable) == ("backend-timeout", True)
    assert failure.backend_error == {"code": "502", "message": "HTTP status 502"}


def test_an_unknown_outcome_has_a_reason(harness: Harness):
    job_id = carried_out(harness, OutcomeUnclear("The answer broke off.", backend_error=WORDS), when="after the change")
    harness.client.hset(f"{PREFIX}job:{job_id}", "in_doubt_since", "1")

    class Away(Failing):
        def reconcile(self, *_: Any, **__: Any) -> Any:
            raise BackendUnavailable("The vserver is not there.")

    backend: Any = Away(harness.backend, RuntimeError(), when="never")
    harness.recover(harness.node(backend), job_id)

    failure = harness.job(job_id).failure
    assert failure is not None
    assert failure.code == "outcome-unknown"
    assert "The answer broke off." in failure.detail
    assert "The vserver is not there." in failure.detail
    assert failure.backend_error == {"code": "2621574", "message": "This operation is not possible now."}


def test_a_waiting_job_has_a_reason(harness: Harness):
    reason = "The storage system cannot be reached: its host refuses connections to that port."
    with capture_logs() as lines:
        job_id = carried_out(harness, BackendUnavailable(reason, backend_error=WORDS), when="at once")

    job = harness.job(job_id)
    assert (job.state, job.waiting_reason, job.message) == (State.QUEUED, "backend-unavailable", reason)
    (line,) = [line for line in lines if line["event"] == "job.requeued"]
    assert (line["detail"], line["job_id"]) == (reason, job_id)
    assert (line["backend_code"], line["backend_message"]) == (WORDS.code, WORDS.message)
    assert line["delay_s"] > 0
    harness.let_time_pass()
    harness.node().carry_out(job_id)
    assert harness.job(job_id).state is State.SUCCEEDED


def test_an_open_breaker_names_the_last_cause(harness: Harness):
    def away() -> StorageBackend:
        raise BackendUnavailable("Its host name cannot be resolved.")

    gateway = BackendGateway(SUBSYSTEM, away, Listings(harness.client, harness.scripts, harness.settings))
    for _ in range(7):
        with pytest.raises(BackendUnavailable) as refusal, gateway.session():
            pass

    assert gateway.breaker_state == "open"
    assert refusal.value.detail.startswith("Its host name cannot be resolved. ")


def test_limits_of_a_working_storage_system_are_reported(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    gateway = BackendGateway(
        SUBSYSTEM, lambda: harness.backend, Listings(harness.client, harness.scripts, harness.settings)
    )
    assert (gateway.check()["status"], gateway.check()["detail"]) == ("available", "")

    monkeypatch.setattr(type(harness.backend), "check", lambda _: ("It does not know x: shown as null.",))

    assert (gateway.check()["status"], gateway.check()["detail"]) == ("available", "It does not know x: shown as null.")


def test_a_reinstated_volume_is_in_every_listing_at_once(harness: Harness):
    node = harness.node()
    for read in ("list_volumes", "list_restricted_volumes"):
        node.carry_out(harness.accept(read))

    job_id = harness.accept("reinstate_volume", volume="out", junction_path="/back")
    node.carry_out(job_id)

    assert harness.job(job_id).state is State.SUCCEEDED
    assert _names(harness, "volumes") == ["out", "vol"]
    assert _names(harness, "restricted") == []
    assert harness.backend.get_volume(":/back", journal=InMemoryJournal()).name == "out"


def _names(harness: Harness, what: str) -> list[str]:
    """What the cached listing holds, changes included."""
    listings = Listings(harness.client, harness.scripts, harness.settings)
    kind = {"volumes": resource_types.VOLUMES, "restricted": resource_types.RESTRICTED}[what]
    state = listings.listing_state(kind, kind.cache_key(SUBSYSTEM, {}))
    assert state.usable
    assert state.listing_version is not None
    listing = listings.load(state.listing_version)
    assert listing is not None
    return [record["name"] for record in listing.records]
