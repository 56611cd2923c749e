"""What a job leaves in its record and in the listings: paths that were resolved, results, and reads beside changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
import redis

from storage_backends.errors import BackendError, BackendUnavailable, FieldError, StorageError
from storage_backends.journal import InMemoryJournal, Journal, LeaseLost, ShuttingDown, TimedOut
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness, Node
from worker.catalog.resource_types import VOLUME, VOLUMES, ResourceType
from worker.execution.executor import cause_of, failure_of
from worker.jobs.failure import Failure, InDoubtCause
from worker.jobs.record import State
from worker.jobs.status import INLINE_RESULT_BYTES
from worker.listings.listing import Listing
from worker.listings.repository import Listings


def _listings(harness: Harness) -> Listings:
    return Listings(harness.client, harness.scripts, harness.settings)


def _listing(harness: Harness, resource_type: ResourceType, cache_key: str) -> Listing:
    listings = _listings(harness)
    state = listings.listing_state(resource_type, cache_key)
    assert state.usable
    assert state.listing_version is not None
    listing = listings.load(state.listing_version)
    assert listing is not None
    return listing


def _while(harness: Harness, method: str, meanwhile: Callable[[], object]) -> None:
    """Let something happen after the storage system has read and before the worker has its answer."""
    original = getattr(harness.backend, method)

    def slow(*arguments: Any, **options: Any) -> Any:
        value = original(*arguments, **options)
        setattr(harness.backend, method, original)
        meanwhile()
        return value

    setattr(harness.backend, method, slow)


def _now_ms(harness: Harness) -> int:
    seconds, micros = harness.client.time()
    return int(seconds * 1000 + micros // 1000)


def test_an_error_of_the_storage_system_is_recorded_with_all_that_it_says():
    backend_error = {"code": "917526", "message": "no such vserver"}
    error = StorageError(
        "refused", backend_error=BackendError(**backend_error), errors=(FieldError("/size_total", "too large"),)
    )
    errors = ({"pointer": "/size_total", "detail": "too large"},)
    assert failure_of(error) == Failure("backend-error", "refused", False, backend_error, errors)
    assert failure_of(BackendUnavailable("away")) == Failure("backend-unavailable", "away", retryable=True)
    assert cause_of(error) == InDoubtCause("refused", backend_error)


@pytest.mark.parametrize("volume", ["vol", "node:/vol"])
def test_a_read_is_cached_and_recorded_under_the_name_of_its_volume(harness: Harness, volume: str):
    job_id = harness.accept("get_volume", volume=volume)
    harness.node().carry_out(job_id)
    assert harness.field(job_id, "result_cache_key") == f"{SUBSYSTEM}/volumes/vol"
    assert harness.job(job_id).arguments == {"volume": "vol"}


def test_the_result_of_a_read_is_the_listing_as_of_its_beginning(harness: Harness):
    job_id = harness.accept("list_volumes")
    harness.node().carry_out(job_id)
    version = harness.job(job_id).listing_version
    assert version == _listings(harness).listing_state(VOLUMES, f"{SUBSYSTEM}/volumes").listing_version
    assert version is not None
    assert version.base_seq == version.seq > 0


def _result_with_one_change(harness: Harness) -> Listing:
    """Carry out a listing; return its result, which must have one change more than what was read."""
    job_id = harness.accept("list_volumes")
    harness.node().carry_out(job_id)
    version = harness.job(job_id).listing_version
    assert version is not None
    assert version.seq == version.base_seq + 1
    listing = _listings(harness).load(version)
    assert listing is not None
    return listing


def test_the_result_of_a_read_has_the_changes_that_were_made_meanwhile(harness: Harness):
    _while(harness, "list_volumes", lambda: harness.node().carry_out(harness.accept("create_volume", volume="new")))
    listing = _result_with_one_change(harness)
    assert listing.find("new") is not None


def test_the_result_of_a_read_ends_where_changes_are_missing(harness: Harness):
    def change() -> None:
        for volume in ("new", "newer"):
            harness.node().carry_out(harness.accept("create_volume", volume=volume))
            # An invalidation takes a number, and is no change that could be applied.
            harness.client.hincrby(f"{PREFIX}listing:{SUBSYSTEM}/volumes", "seq", 1)

    _while(harness, "list_volumes", change)
    listing = _result_with_one_change(harness)
    assert (listing.find("new") is None, listing.find("newer") is None) == (False, True)


def test_a_look_up_of_what_is_not_there_leaves_nothing_in_redis(harness: Harness):
    job_id = harness.accept("get_volume", volume="nowhere")
    harness.node().carry_out(job_id)
    assert harness.job(job_id).state is State.FAILED
    assert not harness.client.exists(f"{PREFIX}listing:{SUBSYSTEM}/volumes/nowhere")


def test_a_change_by_path_is_in_what_is_cached_by_name(harness: Harness):
    harness.node().carry_out(harness.accept("get_volume", volume="vol"))
    harness.node().carry_out(harness.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=33))
    volume = _listing(harness, VOLUME, f"{SUBSYSTEM}/volumes/vol").find("vol")
    assert volume is not None
    assert volume["percentage_snapshot_reserve"] == 33


def test_after_a_failure_half_way_of_a_change_by_path_reads_show_what_is_true(harness: Harness):
    harness.node().carry_out(harness.accept("list_volumes"))
    update = harness.backend.update_volume

    def half(*arguments: Any, **options: Any) -> None:
        update(*arguments, **options)
        raise StorageError("half")

    harness.backend.update_volume = half  # type: ignore[method-assign, assignment]
    job_id = harness.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=33)
    harness.node().carry_out(job_id)
    assert harness.job(job_id).state is State.FAILED
    volume = _listing(harness, VOLUMES, f"{SUBSYSTEM}/volumes").find("vol")
    assert volume is not None
    assert volume["percentage_snapshot_reserve"] == 33


def test_a_volume_that_is_gone_after_a_failure_half_way_of_a_change_by_path_is_not_shown(harness: Harness):
    harness.node().carry_out(harness.accept("list_volumes"))

    def half(*_: Any, journal: Journal, **__: Any) -> None:
        journal.record_intent("restrict_volume")
        restrict("vol", journal=InMemoryJournal())
        raise StorageError("half")

    restrict, harness.backend.restrict_volume = harness.backend.restrict_volume, half  # type: ignore[method-assign]
    harness.node().carry_out(harness.accept("restrict_volume", volume="node:/vol"))
    assert _listing(harness, VOLUMES, f"{SUBSYSTEM}/volumes").find("vol") is None


def test_a_look_up_by_path_does_not_wait_for_changes_of_its_volume(harness: Harness):
    harness.node().claim(harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=33))
    job_id = harness.accept("get_volume", volume="node:/vol")
    harness.node().carry_out(job_id)
    assert harness.job(job_id).state is State.SUCCEEDED


def test_where_a_path_leads_is_remembered_until_a_volume_changes(harness: Harness):
    harness.node().carry_out(harness.accept("list_volumes"))
    harness.node().carry_out(harness.accept("get_volume", volume="node:/vol"))
    assert _listings(harness).alias(SUBSYSTEM, "/VOL") == "vol"
    ttl_s, fresh_s = harness.client.ttl(f"{PREFIX}alias:{SUBSYSTEM}:/vol"), harness.settings.cache_fresh
    assert fresh_s - 20 < ttl_s <= fresh_s
    harness.node().carry_out(harness.accept("create_volume"))
    assert _listings(harness).alias(SUBSYSTEM, "/vol") == ""


def test_where_a_path_leads_is_not_remembered_when_a_volume_changes_meanwhile(harness: Harness):
    harness.node().carry_out(harness.accept("list_volumes"))
    _while(harness, "get_volume", lambda: harness.node().carry_out(harness.accept("create_volume")))
    harness.node().carry_out(harness.accept("get_volume", volume="node:/vol"))
    assert _listings(harness).alias(SUBSYSTEM, "/vol") == ""


def test_a_change_that_ends_while_a_listing_is_read_is_in_it(harness: Harness):
    logged_until_ms = []

    def change() -> None:
        logged: Any = harness.client.hget(f"{PREFIX}listing:{SUBSYSTEM}/volumes", "logging")
        logged_until_ms.append(int(logged) - _now_ms(harness))
        harness.node().carry_out(harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=33))

    _while(harness, "list_volumes", change)
    harness.node().carry_out(harness.accept("list_volumes"))
    volume = _listing(harness, VOLUMES, f"{SUBSYSTEM}/volumes").find("vol")
    assert volume is not None
    assert volume["percentage_snapshot_reserve"] == 33
    # Changes are kept for the read for as long as it may take.
    limit_ms = harness.settings.read_timeout * 1000
    assert limit_ms - 10_000 < logged_until_ms[0] <= limit_ms


def test_the_result_of_a_look_up_is_stored_whatever_its_size_and_that_of_a_large_listing_is_not(harness: Harness):
    rules = [f"10.0.{number // 256}.{number % 256}" for number in range(1000)]
    harness.node().carry_out(harness.accept("create_policy", policy="large", rules=rules))
    one, many = harness.accept("get_policy", policy="large"), harness.accept("list_policies")
    for job_id in (one, many):
        harness.node().carry_out(job_id)
    result = harness.jobs.result(one)
    assert result is not None
    assert orjson.loads(result)["name"] == "large"
    assert len(result) > INLINE_RESULT_BYTES
    assert harness.jobs.result(many) is None


# --- how an attempt ends


def _failing(harness: Harness, error: Exception, *, intent: bool) -> Node:
    """A worker whose changes fail, after their intent was recorded or before."""

    def update_volume(*_: Any, journal: Journal, **__: Any) -> None:
        if intent:
            journal.record_intent("update_volume")
        raise error

    harness.backend.update_volume = update_volume  # type: ignore[method-assign, assignment]
    return harness.node()


def _update(harness: Harness) -> str:
    return harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=33)


@pytest.mark.parametrize(
    ("stop", "reason"), [(ShuttingDown(), None), (TimedOut(), "timed-out"), (redis.ConnectionError(), None)]
)
def test_a_change_that_was_sent_and_is_stopped_is_looked_for_and_not_repeated(
    harness: Harness, stop: Exception, reason: str | None
):
    job_id = _update(harness)
    assert _failing(harness, stop, intent=True).carry_out(job_id) is None
    job = harness.job(job_id)
    assert (job.state, job.in_doubt_since_ms is not None, job.in_doubt_reason) == (State.RUNNING, True, reason)


def test_a_job_that_takes_too_long_before_anything_was_sent_fails_and_may_be_repeated(harness: Harness):
    job_id = _update(harness)
    _failing(harness, TimedOut(), intent=False).carry_out(job_id)
    failure = harness.job(job_id).failure
    assert failure is not None
    assert (failure.code, failure.retryable) == ("timed-out", True)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BackendUnavailable("away"), "backend-unavailable"),
        (StorageError("busy", transient=True), "retrying"),
        (redis.ConnectionError("away"), "retrying"),
    ],
)
def test_a_transient_error_is_retried_for_a_time(harness: Harness, error: Exception, reason: str):
    job_id = _update(harness)
    node = _failing(harness, error, intent=False)
    node.carry_out(job_id)
    job = harness.job(job_id)
    assert (job.state, job.waiting_reason, job.attempt) == (State.QUEUED, reason, 1)
    assert [attempt.retry_in_ms for attempt in job.attempts] == [500]
    for ago_s, state in ((-5, State.QUEUED), (5, State.FAILED)):
        first_ms = _now_ms(harness) - (harness.settings.backend_patience + ago_s) * 1000
        harness.client.hset(f"{PREFIX}job:{job_id}", mapping={"first_failure": first_ms, "not_before": ""})
        node.carry_out(job_id)
        assert harness.job(job_id).state is state
    failure = harness.job(job_id).failure
    assert failure is not None
    expected = (error.code, error.retryable) if isinstance(error, StorageError) else ("backend-error", True)
    assert (failure.code, failure.retryable) == expected


@pytest.mark.parametrize(
    ("error", "intent", "is_read"),
    [
        (StorageError("refused"), False, False),
        (StorageError("refused"), True, True),
        # It took nothing: what is cached is still true, and must last until it is back.
        (BackendUnavailable("away"), True, False),
    ],
)
def test_only_after_a_failure_half_way_the_storage_system_is_read_again(
    harness: Harness, error: StorageError, intent: bool, is_read: bool
):
    node, volumes = _failing(harness, error, intent=intent), list[str]()
    get_volume = harness.backend.get_volume

    def counted(volume: str, *, journal: Journal) -> Any:
        volumes.append(volume)
        return get_volume(volume, journal=journal)

    harness.backend.get_volume = counted  # type: ignore[method-assign]
    job_id = _update(harness)
    # It has been tried again for as long as it may be.
    harness.client.hset(f"{PREFIX}job:{job_id}", "first_failure", 1)
    node.carry_out(job_id)
    assert harness.job(job_id).state is State.FAILED
    assert bool(volumes) is is_read


def test_why_a_read_failed_is_said_although_redis_goes_away(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    def fail(**_: Any) -> None:
        raise StorageError("refused")

    def away(_cache_key: str) -> None:
        raise redis.ConnectionError("away")

    node, job_id = harness.node(), harness.accept("list_volumes")
    harness.backend.list_volumes = fail  # type: ignore[method-assign, assignment]
    monkeypatch.setattr(node.executor._listings, "abandon", away)
    node.carry_out(job_id)
    failure = harness.job(job_id).failure
    assert failure is not None
    assert failure.detail == "refused"


def test_a_job_that_another_worker_has_by_now_has_no_end_here(harness: Harness):
    node, other = harness.node(), harness.node()
    lease = node.claim(harness.accept("list_volumes"))
    harness.let_time_pass()
    other.sweep()
    other.claim(lease.job_id)
    harness.backend.list_volumes = lambda **_: []  # type: ignore[method-assign]
    assert node.executor.execute(lease) is None
    assert harness.job(lease.job_id).state is State.RUNNING


def test_a_lease_that_was_lost_is_not_renewed_any_more(harness: Harness):
    node = _failing(harness, LeaseLost(), intent=True)
    assert node.carry_out(_update(harness)) is None
    assert node.lease_renewer.leases() == []


# --- how long listings are kept


@pytest.mark.parametrize("requester", ["ann", ""])
def test_what_anonymous_clients_look_up_is_kept_briefly(harness: Harness, requester: str):
    settings = harness.settings
    brief_s = settings.cache_keep if requester else settings.cache_fresh + settings.read_job_keep
    for operation, cache_key, keep_s in (
        ("get_volume", "volumes/vol", brief_s), ("list_volumes", "volumes", settings.cache_keep),
    ):  # fmt: skip
        _, job_id, _ = harness.jobs.accept(replace(harness.new(operation), requester=requester))
        harness.node().carry_out(job_id)
        base = harness.client.hget(f"{PREFIX}listing:{SUBSYSTEM}/{cache_key}", "base")
        assert isinstance(base, bytes)
        ttl_s = harness.client.ttl(f"{PREFIX}base:{SUBSYSTEM}/{cache_key}:{base.decode()}")
        assert keep_s - 60 < ttl_s <= keep_s
