"""What a job leaves in its record and in the listings: paths that were resolved, results, and reads beside changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from storage_backends.errors import BackendError, BackendUnavailable, FieldError, StorageError
from storage_backends.journal import InMemoryJournal, Journal
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from tests.worker.redis_clock import redis_now_ms
from worker.catalog.resource_types import VOLUME, VOLUMES, ResourceType
from worker.execution.executor import JobExecutor, cause_of, failure_of
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
    """Run a function after the storage system has read and before the worker has its answer."""
    original = getattr(harness.backend, method)

    def slow(*arguments: Any, **options: Any) -> Any:
        value = original(*arguments, **options)
        setattr(harness.backend, method, original)
        meanwhile()
        return value

    setattr(harness.backend, method, slow)


def test_a_job_of_a_storage_system_of_another_worker_is_requeued(harness: Harness):
    node = harness.node()
    lease = node.claim(harness.accept("create_volume"))
    executor = JobExecutor(node.claims, {}, _listings(harness), harness.settings)
    with capture_logs() as lines:
        assert executor.execute(lease) is None
    assert harness.job(lease.job_id).state is State.QUEUED
    # Waiting does not mend it.
    assert [(line["event"], line["log_level"], line["job_id"], line["subsystem"]) for line in lines] == [
        ("job.wrong-queue", "error", lease.job_id, SUBSYSTEM)
    ]


def test_an_error_of_the_storage_system_is_recorded_completely():
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


def _changes(harness: Harness, until: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
    changes: Any = harness.client.xrange(f"{PREFIX}delta:{SUBSYSTEM}/volumes", "-", f"{until}-0")
    return list(changes)


def _result_with_one_change(harness: Harness) -> Listing:
    """Carry out a listing; return its result, which must have one change more than what was read."""
    job_id = harness.accept("list_volumes")
    harness.node().carry_out(job_id)
    version = harness.job(job_id).listing_version
    assert version is not None
    assert version.seq == version.base_seq + 1
    (*_, (_, last)) = _changes(harness, until=version.seq)
    assert version.changed == last[b"t"].decode() != ""
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


def test_a_look_up_of_a_missing_object_leaves_no_key(harness: Harness):
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


def test_after_a_partial_failure_of_a_change_by_path_reads_are_right(harness: Harness):
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


def test_a_volume_lost_in_a_partial_failure_by_path_is_not_listed(harness: Harness):
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


def test_an_alias_is_cached_until_a_volume_changes(harness: Harness):
    harness.node().carry_out(harness.accept("list_volumes"))
    harness.node().carry_out(harness.accept("get_volume", volume="node:/vol"))
    assert _listings(harness).alias(SUBSYSTEM, "/VOL") == "vol"
    ttl_s, fresh_s = harness.client.ttl(f"{PREFIX}alias:{SUBSYSTEM}:/vol"), harness.settings.cache_fresh
    assert fresh_s - 20 < ttl_s <= fresh_s
    harness.node().carry_out(harness.accept("create_volume"))
    assert _listings(harness).alias(SUBSYSTEM, "/vol") == ""


def test_an_alias_is_not_cached_when_a_volume_changes_meanwhile(harness: Harness):
    harness.node().carry_out(harness.accept("list_volumes"))
    _while(harness, "get_volume", lambda: harness.node().carry_out(harness.accept("create_volume")))
    harness.node().carry_out(harness.accept("get_volume", volume="node:/vol"))
    assert _listings(harness).alias(SUBSYSTEM, "/vol") == ""


def test_a_change_that_ends_while_a_listing_is_read_is_in_it(harness: Harness):
    logged_until_ms = []

    def change() -> None:
        logged: Any = harness.client.hget(f"{PREFIX}listing:{SUBSYSTEM}/volumes", "logging")
        logged_until_ms.append(int(logged) - redis_now_ms(harness.client))
        harness.node().carry_out(harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=33))

    _while(harness, "list_volumes", change)
    harness.node().carry_out(harness.accept("list_volumes"))
    volume = _listing(harness, VOLUMES, f"{SUBSYSTEM}/volumes").find("vol")
    assert volume is not None
    assert volume["percentage_snapshot_reserve"] == 33
    # Changes are kept for the read for as long as it may take.
    limit_ms = harness.settings.read_timeout * 1000
    assert limit_ms - 10_000 < logged_until_ms[0] <= limit_ms


@pytest.mark.parametrize(("size", "is_stored"), [(INLINE_RESULT_BYTES, True), (INLINE_RESULT_BYTES + 1, False)])
def test_a_listing_of_less_than_eight_kibibytes_is_stored_as_a_result(harness: Harness, size: int, is_stored: bool):
    assert INLINE_RESULT_BYTES == 8 * 1024 - 1
    backend: Any = harness.backend
    backend.list_policies = lambda **_: [{"name": "p" * (size - len('[{"name":""}]'))}]
    job_id = harness.accept("list_policies")
    harness.node().carry_out(job_id)
    assert (harness.jobs.result(job_id) is not None) is is_stored


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
