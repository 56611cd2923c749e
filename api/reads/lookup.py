"""Look-ups for reads: from the cached listings if fresh enough, otherwise by a job that reads the storage system.

Independent of the form of responses: each version of the API renders the result itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from api.http.problems import Problem, problem_of
from api.jobs.long_polling import wait_for, wait_for_end
from api.jobs.new_job import new_job
from api.jobs.refusals import memory_refusal, refusal
from api.jobs.submit import job_headers
from api.reads.page_token import Page, bad_token, expired_token
from api.reads.read_request import ReadRequest, name_in_listing, resolve_volume_name
from storage_backends.models import parse_reference
from worker.catalog import resource_types as views
from worker.jobs.record import State
from worker.jobs.service import NewJob
from worker.jobs.status import JobStatus
from worker.listings.listing import Listing
from worker.listings.repository import ListingState
from worker.store.results import SubmitOutcome

#: Failures for which an old copy is served: the storage system is unavailable, it has not refused.
_UNAVAILABLE = frozenset({"backend-unavailable", "backend-timeout"})


@dataclass(frozen=True, slots=True)
class ReadResult:
    """A version of a listing that answers a read."""

    #: The read, with the volume's name for its path.
    read_request: ReadRequest
    listing: Listing
    listing_state: ListingState
    #: For a single object: its key in the listing.
    key: str | None = None
    #: How it was obtained, as in Cache-Status (RFC 9211); empty: from the cache.
    status: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Does the response depend only on this listing state?
    is_cacheable: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """A job that has not ended while the request was held open."""

    job_status: JobStatus
    headers: Mapping[str, str]


def find(read_request: ReadRequest) -> ReadResult | Pending:
    """Return the result of a read, or the job that reads the storage system.

    Raises:
        Problem: it fails, or is not valid.
    """
    if read_request.query.page is not None:
        return _page(read_request, read_request.query.page)
    read_request = resolve_volume_name(read_request)
    result = _cached_copy(read_request)
    if result is not None:
        return result
    if read_request.cache_control.only_if_cached:
        raise Problem("not-cached", "There is no copy that is fresh enough, and the request asked for nothing else.")
    return _read_by_job(read_request)


def _cached_copy(read_request: ReadRequest) -> ReadResult | None:
    """Return a copy that the request accepts, preferably a fresh one."""
    listing_state = read_request.listing_state()
    is_fresh = read_request.accepts(listing_state) and not read_request.is_stale(listing_state)
    # A listing that was read later may show what somebody else has changed since.
    result = _from_collection(read_request) if not is_fresh or _has_newer_collection(listing_state) else None
    if result is None and is_fresh:
        result = _from_state(read_request, listing_state)
        if result is not None and read_request.is_cacheable:
            return replace(result, is_cacheable=True)
    if result is None and read_request.accepts(listing_state):
        result = _from_state(read_request, listing_state)
        if result is not None:
            return replace(result, headers=_refresh_in_background(read_request, listing_state))
    return result


def _has_newer_collection(listing_state: ListingState) -> bool:
    # One from before the clock was set back is not fresh.
    return listing_state.as_of_ms < listing_state.collection_as_of_ms


def _from_collection(read_request: ReadRequest) -> ReadResult | None:
    """Return a single object from its collection, if that is fresh and has it."""
    if read_request.resource_type.parent is None or read_request.resource_type.is_detailed:
        return None
    parent = replace(read_request, resource_type=read_request.resource_type.parent)
    collection = parent.listing_state()
    return (
        _from_state(read_request, collection)
        if parent.accepts(collection) and not parent.is_stale(collection)
        else None
    )


def _refresh_in_background(read_request: ReadRequest, listing_state: ListingState) -> dict[str, str]:
    """Start a refresh in the background; return the headers with its job."""
    if read_request.cache_control.only_if_cached:
        return {}
    job_id = listing_state.inflight
    if not job_id:
        new = _new_job(read_request, seen_ms=listing_state.as_of_ms, refresh=True)
        if memory_refusal(signed_in=bool(new.requester)) is not None:
            return {}
        outcome, job_id, _ = read_request.services.jobs.accept(new)
        if outcome.is_refused or outcome is SubmitOutcome.CHANGED:
            return {}
    return job_headers(job_id)


def _from_state(read_request: ReadRequest, listing_state: ListingState, status: str = "") -> ReadResult | None:
    """Return the result from this listing state; None when that has expired, or does not have the object."""
    if listing_state.listing_version is None:
        return None
    listing = read_request.services.listing_cache.get(listing_state.listing_version)
    if listing is None:
        return None
    single = read_request.resource_type.single
    key = str(read_request.arguments[read_request.resource_type.argument]) if single else None
    if key is not None and listing.find(key) is None:
        return None
    return ReadResult(read_request, listing, listing_state, key, status)


def _page(read_request: ReadRequest, page: Page) -> ReadResult:
    """Return the result from the listing version of a page token, whatever has changed since."""
    if page.cache_key != read_request.resource_type.cache_key(
        read_request.subsystem, _paged_arguments(read_request, page)
    ):
        raise bad_token()
    listing = read_request.services.listing_cache.get(page.listing_version, superseded=True)
    if listing is None:
        raise expired_token()
    now_ms = read_request.listing_state().now_ms
    listing_state = ListingState(page.cache_key, now_ms, page.listing_version, page.as_of_ms, listing.count, page.base)
    return ReadResult(read_request, listing, listing_state)


def _paged_arguments(read_request: ReadRequest, page: Page) -> Mapping[str, Any]:
    """Return the arguments; a path is replaced by the volume that it referred to for the first page."""
    if parse_reference(str(read_request.arguments.get("volume", ""))) is None:
        return read_request.arguments
    _, _, name, *_ = [*page.cache_key.split("/"), "", "", ""]
    return {**read_request.arguments, "volume": name}


# --- by a job


def _new_job(read_request: ReadRequest, *, seen_ms: int | None, refresh: bool = False) -> NewJob:
    new = new_job(read_request.operation, read_request.subsystem, read_request.arguments)
    return replace(
        new,
        target=read_request.target or new.target,
        query=read_request.sent_query,
        may_join_running=not read_request.cache_control.no_cache,
        refresh=refresh,
        seen_ms=seen_ms,
    )


def _read_by_job(read_request: ReadRequest) -> ReadResult | Pending:
    old = read_request.listing_state()
    if read_request.accepts(old) and (result := _cached_copy(read_request)) is not None:
        # Another request's read has ended just now.
        return result
    new = _new_job(read_request, seen_ms=None if read_request.cache_control.no_cache else old.as_of_ms)
    stale_copy = _stale_if_error_copy(read_request, old)
    if (refused := memory_refusal(signed_in=bool(new.requester))) is not None:
        raise refused
    outcome, job_id, job_status = read_request.services.jobs.accept(new)
    if outcome.is_refused:
        raise refusal(new, outcome)
    if outcome is SubmitOutcome.CHANGED:
        return _read_by_job(read_request)
    status = f"fwd={_forward_reason(read_request, old)}" + ("; collapsed" if outcome is SubmitOutcome.COALESCED else "")
    if stale_copy is None or not old.unavailable:
        job_status = _wait(read_request, job_id, job_status, may_leave=stale_copy is not None)
    if job_status is None:
        raise Problem("job-expired", "The job that asked the storage system is kept no longer. Ask again.")
    if job_status.job.state is State.SUCCEEDED:
        return _result_of_job(read_request, job_status, status)
    if stale_copy is not None and (old.unavailable or _is_unavailable(job_status)):
        result = _from_state(*stale_copy)
        if result is not None:
            return replace(result, headers=job_headers(job_id))
    return _pending_or_failed(read_request, job_status, status)


def _stale_if_error_copy(read_request: ReadRequest, state: ListingState) -> tuple[ReadRequest, ListingState] | None:
    """Return a copy to serve while the storage system is unavailable: its own, or the collection that has it."""
    if read_request.accepts_stale_on_error(state):
        return read_request, state
    volumes = replace(read_request, resource_type=views.VOLUMES)
    listing = volumes.listing_state()
    if not volumes.accepts_stale_on_error(listing):
        return None
    resolved = name_in_listing(read_request, listing)
    if resolved is not read_request and resolved.accepts_stale_on_error(listing_state := resolved.listing_state()):
        return resolved, listing_state
    return (resolved, listing) if read_request.resource_type is views.VOLUME and _holds(resolved, listing) else None


def _holds(read_request: ReadRequest, volumes: ListingState) -> bool:
    listing = read_request.services.listing_cache.get(volumes.listing_version) if volumes.listing_version else None
    return listing is not None and listing.find(str(read_request.arguments["volume"])) is not None


def _forward_reason(read_request: ReadRequest, old: ListingState) -> str:
    """Return why the request is forwarded to the storage system (``fwd`` in RFC 9211)."""
    if not old.usable:
        return "miss"
    return "request" if read_request.cache_control.no_cache or not read_request.is_stale(old) else "stale"


def _wait(read_request: ReadRequest, job_id: str, job_status: JobStatus | None, *, may_leave: bool) -> JobStatus | None:
    """Wait for the job; if there is a copy to fall back on, only as long as the storage system is available."""
    preferences = read_request.preferences
    seconds = read_request.wait_s if preferences.wait_s is None else preferences.wait_s
    if preferences.respond_async and preferences.wait_s is None:
        seconds = 0
    if not seconds:
        return job_status
    if not may_leave:
        return wait_for_end(read_request.services, job_id, seconds) or job_status
    return (
        wait_for(read_request.services, job_id, seconds, lambda now: now.job.done or _is_unavailable(now)) or job_status
    )


def _is_unavailable(job_status: JobStatus) -> bool:
    job = job_status.job
    return job.waiting_reason == "backend-unavailable" or (job.failure is not None and job.failure.code in _UNAVAILABLE)


def _result_of_job(read_request: ReadRequest, job_status: JobStatus, status: str) -> ReadResult:
    """Return the result of the job: from the current listing state, unless that has been invalidated already."""
    job, made = job_status.job, job_status.job.listing_version
    assert made is not None  # noqa: S101 - a read that succeeded has made one
    resolved = replace(read_request, arguments=job.arguments)
    now = resolved.listing_state()
    if not (now.usable and (job.started_ms or 0) <= now.as_of_ms <= now.now_ms):
        now = ListingState(made.cache_key, job_status.now_ms, made, job.started_ms or job_status.now_ms, hash=made.base)
    result = _from_state(resolved, now, status)
    if result is None:
        raise Problem("result-expired", "The answer is kept no longer. Ask again.", headers=job_headers(job.id))
    return replace(result, headers=job_headers(job.id) | read_request.preferences.headers(done=True))


def _pending_or_failed(read_request: ReadRequest, job_status: JobStatus, status: str) -> Pending:
    """Return the job while it has not ended; raise the problem if it failed."""
    job = job_status.job
    preferences = read_request.preferences
    headers = {"Cache-Status": f"storage-api; {status}", **job_headers(job.id), **preferences.headers(done=job.done)}
    if job.failure is not None:
        raise problem_of(job.failure, headers=headers)
    if job.state is State.CANCELLED:
        raise Problem("job-cancelled", "The read was cancelled. Ask again.", headers=headers)
    return Pending(job_status, headers)
