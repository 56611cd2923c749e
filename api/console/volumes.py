"""Volumes of a storage system, and one volume with its snapshots, locks, policy and jobs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from flask import Response, request, stream_with_context

from api import auth
from api.console import charts
from api.console.api_client import ApiResponse, call
from api.console.pages import page, problem_page, render
from api.http.problems import Problem
from api.services import current_services
from worker.catalog.operations import Role

PAGE_ROWS = 50
COLUMNS = ("name", "state", "size_total", "size_used", "aggregate_name", "junction_path", "active_policy_name")
#: The page's own parameters; all others are the API's.
_OWN = frozenset({"columns", "q", "refresh", "filter"})
_EVERY_COLUMN = (
    *COLUMNS, "uuid", "type", "filer_address", "autosize_enabled", "max_autosize", "percentage_snapshot_reserve",
    "percentage_snapshot_reserve_used", "compression_enabled", "inline_compression", "caching_policy",
    "snapshot_policy", "security_style", "unix_permissions", "space_guarantee", "qos_policy", "tiering_policy",
    "comment", "creation_time",
)  # fmt: skip


@page("/<subsystem>/volumes", access=Role.USER)
def volumes(subsystem: str) -> Response:
    """The table of volumes."""
    columns = [name for name in request.args.getlist("columns") if name in _EVERY_COLUMN] or list(COLUMNS)
    query = _api_query()
    wait = {"Prefer": "wait=5"} | ({"Cache-Control": "no-cache"} if request.args.get("refresh") else {})
    answer = call("GET", f"/v4/{subsystem}/volumes", query={"limit": PAGE_ROWS, **query}, headers=wait)
    if answer.status == 202:  # noqa: PLR2004
        return render("reading.html", 202, subsystem=subsystem, what="volumes", job=answer.body)
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    return render(
        "volumes.html",
        subsystem=subsystem,
        rows=answer.body,
        columns=columns,
        every_column=_EVERY_COLUMN,
        total=int(answer.headers.get("X-Total-Count", 0)),
        age_s=int(answer.headers.get("Age", 0)),
        next_token=next_token(answer),
        filters={name: value for name, value in query.items() if name not in ("sort", "page_token", "limit")},
    )


def _api_query() -> dict[str, str]:
    query = {name: value for name, value in request.args.items() if name not in _OWN and value}
    text = request.args.get("q", "").strip()
    if text:
        query["name"] = text if "*" in text else f"*{text}*"
    field, _, expression = request.args.get("filter", "").partition("=")
    if field.strip() and expression.strip():
        query[field.strip()] = expression.strip()
    return query


def next_token(answer: ApiResponse) -> str:
    """Return the token of the next page, from the Link header."""
    link = answer.headers.get("Link", "")
    if 'rel="next"' not in link:
        return ""
    address = link.partition("<")[2].partition(">")[0]
    return parse_qs(urlsplit(address).query).get("page_token", [""])[0]


@page("/<subsystem>/volumes.<kind>", access=Role.USER)
def download(subsystem: str, kind: str) -> Response:
    """The same table as a file: every row that the filter chooses."""
    if kind not in ("csv", "json"):
        raise Problem("not-found", "Volumes can be downloaded as csv or json.")
    first = call(
        "GET", f"/v4/{subsystem}/volumes", query={**_api_query(), "limit": 1000}, headers={"Prefer": "wait=20"}
    )
    if first.status != 200:  # noqa: PLR2004
        return problem_page(first)
    write = _csv if kind == "csv" else _json
    response = Response(
        stream_with_context(write(_pages(subsystem, first))),
        content_type="text/csv; charset=utf-8" if kind == "csv" else "application/json",
    )
    response.headers["Content-Disposition"] = f'attachment; filename="{subsystem}-volumes.{kind}"'
    return response


def _pages(subsystem: str, first: ApiResponse) -> Iterator[list[dict[str, Any]]]:
    answer = first
    while True:
        yield answer.body
        token = next_token(answer)
        if not token:
            return
        answer = call("GET", f"/v4/{subsystem}/volumes", query={"limit": 1000, "page_token": token})
        if answer.status != 200:  # noqa: PLR2004
            return


def _csv(pages: Iterator[list[dict[str, Any]]]) -> Iterator[str]:
    fields: list[str] = []
    for rows in pages:
        out = io.StringIO()
        writer = csv.writer(out)
        if not fields and rows:
            fields = list(rows[0])
            writer.writerow(fields)
        # A text that begins like a formula is one to spreadsheets.
        writer.writerows([[_cell(row.get(field)) for field in fields] for row in rows])
        yield out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _json(pages: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    separator = b"["
    for rows in pages:
        for row in rows:
            yield separator + orjson.dumps(row)
            separator = b",\n"
    yield b"]\n" if separator != b"[" else b"[]\n"


@page("/<subsystem>/volumes/<path:volume>", access=Role.USER)
def volume(subsystem: str, volume: str) -> Response:
    """One volume."""
    path = f"/v4/{subsystem}/volumes/{volume}"
    answer = call("GET", path, headers={"Prefer": "wait=5"})
    if answer.status == 202:  # noqa: PLR2004
        return render("reading.html", 202, subsystem=subsystem, what=volume, job=answer.body)
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    snapshots = call("GET", f"{path}/snapshots", headers={"Prefer": "wait=3"})
    locks = call("GET", f"{path}/locks", headers={"Prefer": "wait=3"})
    return render(
        "volume.html",
        subsystem=subsystem,
        volume=answer.body,
        age_s=int(answer.headers.get("Age", 0)),
        snapshots=_rows(snapshots),
        marks=charts.time_line(_rows(snapshots) or []),
        locks=_rows(locks),
        jobs=jobs_of(subsystem, answer.body["name"]),
    )


def _rows(answer: ApiResponse) -> list[Mapping[str, Any]] | None:
    """The rows of a collection; None when they are not known yet."""
    return answer.body if answer.status == 200 and isinstance(answer.body, list) else None  # noqa: PLR2004


def jobs_of(subsystem: str, name: str) -> list[Mapping[str, Any]]:
    """The latest jobs of a volume that the user may see."""
    who = auth.principal()
    if not who.signed_in:
        return []
    everybody = {"all": "true"} if Role.UBER_ADMIN in who.roles else {}
    answer = call("GET", "/v4/jobs", query={"subsystem": subsystem, "volume": name, "limit": 10, **everybody})
    return _rows(answer) or []


def is_known(subsystem: str) -> bool:
    """Is this a configured storage system?"""
    return subsystem in current_services().subsystems
