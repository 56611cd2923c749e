"""Chooses volumes by a query as for their listing, for batches with a request for each of them."""

from __future__ import annotations

from urllib.parse import parse_qsl

from flask import request
from werkzeug.datastructures import MultiDict

from api import auth
from api.http.preferences import Preferences, freshness
from api.http.problems import Problem, invalid
from api.reads.collection_query import Query, parse_query
from api.reads.collection_response import select
from api.reads.lookup import Pending, find
from api.reads.read_request import ReadRequest
from api.services import current_services
from worker.catalog.operations import LIST_VOLUMES
from worker.catalog.resource_types import VOLUMES

#: Parameters of a listing that choose no volumes.
UNFIT = ("fields", "page_token")


def choose_volumes(subsystem: str, where: str, wait_s: float) -> list[str]:
    """Return the names of the volumes that match, from a copy that the request's Cache-Control accepts.

    Args:
        subsystem: the storage system.
        where: a query string as for the listing of volumes: filters, `sort`, `limit`.
        wait_s: how long to wait for the storage system without such a copy (seconds).

    Raises:
        Problem: the query is malformed, or there is no listing (yet).
    """
    auth.require(LIST_VOLUMES.role, operation=LIST_VOLUMES.name)
    query = _query(where)
    read_request = ReadRequest(
        current_services(),
        LIST_VOLUMES,
        VOLUMES,
        subsystem,
        {},
        query,
        freshness(request),
        wait_s,
        Preferences(wait_s),
        target=f"/v4/{subsystem}/volumes",
    )
    result = find(read_request)
    if isinstance(result, Pending):
        raise _not_yet(result)
    return [str(record["name"]) for record in select(result.listing, result.listing_state, query)]


def _query(where: str) -> Query:
    parameters = MultiDict(parse_qsl(where, keep_blank_values=True))
    for name in UNFIT:
        if name in parameters:
            raise invalid("/for_each/where", f"{name} makes no sense here")
    try:
        return parse_query(VOLUMES, parameters)
    except Problem as problem:
        raise invalid("/for_each/where", problem.detail) from None


def _not_yet(pending: Pending) -> Problem:
    job_status = pending.job_status
    headers = {"Retry-After": str(job_status.retry_after_s), "Operation-Location": f"/v4/jobs/{job_status.job.id}"}
    detail = "The volumes are being listed, from which it chooses. Nothing was accepted: send the request again."
    return Problem("not-cached", detail, retryable=True, headers=headers)
