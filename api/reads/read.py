"""Answers reads: from the listings in Redis when fresh enough, otherwise by a job that asks the storage system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from email.utils import formatdate
from typing import Any

from flask import Response, request

from api.http.preferences import Preferences, freshness, preferences
from api.http.problems import Problem, problem_of
from api.jobs.long_polling import wait_for, wait_for_end
from api.jobs.new_job import new_job
from api.jobs.submit import accepted_response, job_headers, queue_full
from api.reads import collection_query as collections
from api.reads.read_request import Read, by_name, named_in
from api.response_cache import middleware as repeats
from api.services import Parts, parts
from storage_backends.models import parse_reference
from worker.catalog import resource_types as views
from worker.catalog.operations import Operation
from worker.jobs.record import Generation, State
from worker.jobs.service import Accepted, NewJob
from worker.jobs.status import ShownJob
from worker.listings.repository import Standing

#: Failures for which an old copy is better than none: the storage system is away, it did not say no.
_AWAY = frozenset({"backend-unavailable", "backend-timeout"})


def read(operation: Operation, subsystem: str, arguments: Mapping[str, Any]) -> Response:
    """Answer a read.

    Raises:
        Problem: it fails, or asks for what cannot be.
    """
    view = operation.reads
    assert view is not None  # noqa: S101 - a route that reads names an operation that reads
    held = parts()
    query = collections.parse(view, request.args) if view.parent is None else collections.nothing(request.args)
    asked = Read(held, operation, view, subsystem, arguments, query, freshness(request))
    if query.page is not None:
        return _page(asked, query.page)
    asked = by_name(asked)
    found = _copy(asked)
    if found is not None:
        return found
    if asked.wanted.only_if_cached:
        raise Problem("not-cached", "There is no copy that is fresh enough, and the request asked for nothing else.")
    return _ask(asked)


def _copy(asked: Read) -> Response | None:
    """The answer from a copy that the request takes: a fresh one, if there is one."""
    standing = asked.standing()
    if asked.takes(standing) and not asked.is_stale(standing):
        found = _from(asked, standing)
        if found is not None and asked.repeatable:
            repeats.mark(asked.held, standing, asked.parent_thing, found.get_data())
    else:
        found = _from_collection(asked)
    if found is None and asked.takes(standing):
        found = _from(asked, standing)
        if found is not None:
            _refresh_behind(asked, standing, found)
    return found


def _from_collection(asked: Read) -> Response | None:
    """A single object from the collection that it belongs to, when that is fresh and holds it."""
    if asked.view.parent is None:
        return None
    parent = replace(asked, view=asked.view.parent)
    collection = parent.standing()
    return _from(asked, collection) if parent.takes(collection) and not parent.is_stale(collection) else None


def _refresh_behind(asked: Read, standing: Standing, response: Response) -> None:
    """Have the storage system asked, and say by which job."""
    if asked.wanted.only_if_cached or not asked.is_stale(standing):
        return
    job_id = standing.flight
    if not job_id:
        outcome, job_id, _ = asked.held.jobs.accept(_new_job(asked, seen_ms=standing.as_of_ms, refresh=True))
        if outcome in (Accepted.FULL, Accepted.CHANGED):
            return
    response.headers.update(job_headers(job_id))


def _from(asked: Read, standing: Standing, status: str = "") -> Response | None:
    """The answer from this very state; None when it is kept no longer, or does not hold the object."""
    if standing.generation is None:
        return None
    listing = asked.held.hot.get(standing.generation)
    if listing is None:
        return None
    key = str(asked.arguments[asked.view.argument]) if asked.view.single else None
    if key is not None and listing.find(key) is None:
        return None
    response = collections.respond(listing, standing, asked.query, key)
    return with_age(asked.held, standing, response, status)


def with_age(held: Parts, standing: Standing, response: Response, status: str = "") -> Response:
    """The answer with how old it is, and where it came from (RFC 9211)."""
    settings = held.settings
    ttl_s = settings.cache_fresh - standing.age_s
    response.headers["Age"] = str(standing.age_s)
    response.headers["Last-Modified"] = formatdate(standing.as_of_ms / 1000, usegmt=True)
    response.headers["Cache-Control"] = (
        f"private, max-age={max(0, settings.cache_fresh)}, stale-while-revalidate={settings.cache_stale}"
    )
    response.headers["Cache-Status"] = f"storage-api; {status or f'hit; ttl={ttl_s}'}"
    return response


def _page(asked: Read, page: collections.Page) -> Response:
    """A page of the state that its token names, whatever has happened since."""
    if page.thing != asked.view.thing(asked.subsystem, _paged_arguments(asked, page)):
        raise collections.bad_token()
    generation = Generation(page.thing, page.base, page.base_seq, page.seq)
    listing = asked.held.hot.get(generation, former=True)
    if listing is None:
        raise Problem("page-token-expired", "The listing that the token pages through is kept no longer. Begin again.")
    now_ms = asked.standing(page.thing).now_ms
    standing = Standing(page.thing, now_ms, generation, page.as_of_ms, listing.count, page.base)
    return with_age(asked.held, standing, collections.respond(listing, standing, asked.query, None))


def _paged_arguments(asked: Read, page: collections.Page) -> Mapping[str, Any]:
    """The arguments, where a path stands for the volume that it meant when the first page was given out."""
    if parse_reference(str(asked.arguments.get("volume", ""))) is None:
        return asked.arguments
    _, _, name, *_ = [*page.thing.split("/"), "", "", ""]
    return {**asked.arguments, "volume": name}


# --- by a job


def _new_job(asked: Read, *, seen_ms: int | None, refresh: bool = False) -> NewJob:
    return replace(
        new_job(asked.operation, asked.subsystem, asked.arguments),
        query=_sent_query(),
        join_begun=not asked.wanted.no_cache,
        refresh=refresh,
        seen_ms=seen_ms,
    )


def _ask(asked: Read) -> Response:
    old = asked.standing()
    if asked.takes(old) and (found := _copy(asked)) is not None:
        # The storage system was asked by somebody else, and answered just now.
        return found
    new = _new_job(asked, seen_ms=None if asked.wanted.no_cache else old.as_of_ms)
    kept = _kept(asked, old)
    outcome, job_id, shown = asked.held.jobs.accept(new)
    if outcome is Accepted.FULL:
        raise queue_full(new, asked.held.jobs.queue_retry_after_s(asked.subsystem, asked.operation))
    if outcome is Accepted.CHANGED:
        return _copy(asked) or _ask(asked)
    status = f"fwd={_why(asked, old)}" + ("; collapsed" if outcome is Accepted.JOINED else "")
    wanted = preferences(request, asked.held.config.max_wait)
    if kept is None or not old.away:
        shown = _wait(asked, job_id, shown, wanted, may_leave=kept is not None)
    if shown is None:
        raise Problem("job-expired", "The job that asked the storage system is kept no longer. Ask again.")
    if shown.job.state is State.SUCCEEDED:
        return _answer(asked, shown, status, wanted)
    if kept is not None and (old.away or _is_away(shown)):
        response = _from(*kept)
        if response is not None:
            response.headers.update(job_headers(job_id))
            return response
    return _without(shown, status, wanted)


def _kept(asked: Read, own: Standing) -> tuple[Read, Standing] | None:
    """The copy that is better than none while the storage system is away: its own, or the collection that holds it."""
    if asked.keeps(own):
        return asked, own
    volumes = replace(asked, view=views.VOLUMES)
    listing = volumes.standing()
    if not volumes.keeps(listing):
        return None
    named = named_in(asked, listing)
    if named is not asked and named.keeps(standing := named.standing()):
        return named, standing
    return (named, listing) if asked.view is views.VOLUME and _holds(named, listing) else None


def _holds(asked: Read, volumes: Standing) -> bool:
    listing = asked.held.hot.get(volumes.generation) if volumes.generation else None
    return listing is not None and listing.find(str(asked.arguments["volume"])) is not None


def _why(asked: Read, old: Standing) -> str:
    """Why the request goes on to the storage system (RFC 9211)."""
    if not old.usable:
        return "miss"
    return "request" if asked.wanted.no_cache or not asked.is_stale(old) else "stale"


def _wait(asked: Read, job_id: str, shown: ShownJob | None, wanted: Preferences, *, may_leave: bool) -> ShownJob | None:
    """Wait for the job a little; when there is a copy to fall back on, no longer than the storage system is there."""
    seconds = asked.held.config.read_wait if wanted.wait_s is None else wanted.wait_s
    if wanted.respond_async and wanted.wait_s is None:
        seconds = 0
    if not seconds:
        return shown
    if not may_leave:
        return wait_for_end(asked.held, job_id, seconds) or shown
    return wait_for(asked.held, job_id, seconds, lambda now: now.job.done or _is_away(now)) or shown


def _is_away(shown: ShownJob) -> bool:
    job = shown.job
    return job.waiting_reason == "backend-unavailable" or (job.failure is not None and job.failure.code in _AWAY)


def _answer(asked: Read, shown: ShownJob, status: str, wanted: Preferences) -> Response:
    """The answer that the job has brought: from what stands now, unless that must be read again already."""
    job, made = shown.job, shown.job.generation
    assert made is not None  # noqa: S101 - a read that succeeded has made one
    named = replace(asked, arguments=job.arguments)
    now = named.standing()
    if not (now.usable and now.as_of_ms >= (job.started_ms or 0)):
        now = Standing(made.thing, shown.now_ms, made, job.started_ms or shown.now_ms, hash=made.base)
    response = _from(named, now, status)
    if response is None:
        raise Problem("result-expired", "The answer is kept no longer. Ask again.", headers=job_headers(job.id))
    response.headers.update(job_headers(job.id) | wanted.headers(done=True))
    return response


def _without(shown: ShownJob, status: str, wanted: Preferences) -> Response:
    """The answer while there is none: the job, or why it failed."""
    job = shown.job
    headers = {"Cache-Status": f"storage-api; {status}", **job_headers(job.id), **wanted.headers(done=job.done)}
    if job.failure is not None:
        raise problem_of(job.failure, headers=headers)
    if job.state is State.CANCELLED:
        raise Problem("job-cancelled", "The read was cancelled. Ask again.", headers=headers)
    return accepted_response(shown, headers=headers, query=_sent_query())


def _sent_query() -> str:
    return request.query_string.decode("ascii", "replace")
