"""The table of volumes of a storage system, on the page and as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import orjson
from flask import Response, request, stream_with_context

from api.console.api_client import ApiResponse, call, next_token
from api.console.pages import is_live_update, page, problem_page, read_headers, redirect_to, render
from api.http.problems import Problem
from worker.catalog.operations import Role

ROWS = ("50", "100", "500")
COLUMNS = ("name", "state", "size_total", "size_used", "aggregate_name", "junction_path", "active_policy_name")
EVERY_COLUMN = (
    *COLUMNS, "uuid", "type", "filer_address", "autosize_enabled", "max_autosize", "percentage_snapshot_reserve",
    "percentage_snapshot_reserve_used", "compression_enabled", "inline_compression", "caching_policy",
    "snapshot_policy", "security_style", "unix_permissions", "space_guarantee", "qos_policy", "tiering_policy",
    "comment", "creation_time",
)  # fmt: skip
SORTS = (
    ("", "name"), ("-name", "name, from Z"), ("-size_used", "most used"), ("-size_total", "largest"),
    ("size_total", "smallest"), ("-creation_time", "newest"), ("creation_time", "oldest"),
)  # fmt: skip
#: The page's own parameters; all others filter.
_OWN = frozenset({"columns", "q", "refresh", "filter", "sort", "rows", "page", "page_token", "limit", "fields"})
_DOWNLOAD_ROWS = 1000
#: How a text begins that spreadsheets take for a formula, also behind what they leave out.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True, slots=True)
class TableQuery:
    """What the page was asked to show."""

    #: The filter as text, whether it was typed or came as parameters of a link.
    filter_text: str
    #: Its conditions, by field; all of them must hold.
    filters: dict[str, list[str]]
    sort: str
    rows: int
    page: int
    columns: tuple[str, ...]
    page_token: str
    #: What is wrong with the filter as it was typed, before the API sees it.
    error: str = ""

    @classmethod
    def from_request(cls) -> TableQuery:
        """Read the request's query."""
        args = request.args
        parts = [part for part in args.get("filter", "").split("&") if part.strip()]
        parts += [f"{name}={_escaped(value)}" for name, value in args.items(multi=True) if name not in _OWN and value]
        named = [part.partition("=") for part in parts]
        filters: dict[str, list[str]] = {}
        for name, _, value in named:
            filters.setdefault(name.strip(), []).append(unquote(value.strip()))
        if pattern := args.get("q", "").strip():
            filters.setdefault("name", []).append(pattern if "*" in pattern else f"*{pattern}*")
        wrong = next((part for part, (name, _, value) in zip(parts, named, strict=True) if not _both(name, value)), "")
        chosen = tuple(name for name in args.getlist("columns") if name in EVERY_COLUMN)
        rows, number = args.get("rows", ""), args.get("page", "")
        return cls(
            filter_text="&".join(parts),
            filters=filters,
            sort=args.get("sort", ""),
            rows=int(rows if rows in ROWS else ROWS[0]),
            page=int(number) if number.isascii() and number.isdigit() and len(number) < 7 else 1,  # noqa: PLR2004
            columns=chosen or COLUMNS,
            page_token=args.get("page_token", ""),
            error=f"“{wrong}”: write a field, “=” and a value" if wrong else "",
        )

    @property
    def conditions(self) -> list[tuple[str, str]]:
        """Each field with each of its conditions."""
        return [(name, value) for name, values in self.filters.items() for value in values]

    @property
    def for_api(self) -> dict[str, Any]:
        """The query of the API for this."""
        return {**self.filters, "sort": self.sort, "limit": self.rows, "page_token": self.page_token}

    @property
    def first_row(self) -> int:
        """The number of the first row shown, in the whole table."""
        return (self.page - 1) * self.rows + 1 if self.page_token else 1


def _both(name: str, value: str) -> bool:
    return bool(name.strip() and value.strip())


def _escaped(value: str) -> str:
    """A value that can stand in the text of a filter."""
    return value.replace("%", "%25").replace("&", "%26")


@page("/<subsystem>/volumes", access=Role.USER)
def volumes(subsystem: str) -> Response:
    """The table of volumes."""
    query = TableQuery.from_request()
    if query.error:
        return _table(subsystem, query, None)
    headers = read_headers()
    if request.args.get("refresh") and not is_live_update():
        headers = {"Prefer": "wait=5", "Cache-Control": "max-age=2"}
    answer = call("GET", f"/v4/{subsystem}/volumes", query=query.for_api, headers=headers)
    if answer.status == 202:  # noqa: PLR2004
        return render("reading.html", 202, subsystem=subsystem, what="volumes", job=answer.body)
    return _table(subsystem, query, answer) if answer.status in (200, 422) else problem_page(answer)


def _table(subsystem: str, query: TableQuery, answer: ApiResponse | None) -> Response:
    is_good = answer is not None and answer.status == 200  # noqa: PLR2004
    listing = answer if is_good else None
    problem = answer.body if answer is not None and not is_good else None
    return render(
        "volumes.html",
        200 if is_good else 422,
        subsystem=subsystem,
        rows=listing.body if listing else [],
        table=query,
        problem=problem,
        filter_error=query.error or _error_text(problem),
        every_column=EVERY_COLUMN,
        every_rows=ROWS,
        sorts=SORTS,
        where="&".join(f"{name}={quote(value)}" for name, value in query.conditions),
        total=int(listing.headers.get("X-Total-Count", 0)) if listing else 0,
        age_s=int(listing.headers.get("Age", 0)) if listing else None,
        next_token=next_token(listing) if listing else "",
        events={"subsystem": subsystem},
    )


def _error_text(problem: dict[str, Any] | None) -> str:
    if problem is None:
        return ""
    errors = problem.get("errors") or []
    words = "; ".join(f"{error['pointer'].lstrip('/')}: {error['detail']}" for error in errors)
    return words or str(problem.get("detail", ""))


@page("/<subsystem>/volumes.<kind>", access=Role.USER)
def download(subsystem: str, kind: str) -> Response:
    """The same table as a file: every row that the filter chooses, with the columns that were chosen (else all).

    While the listing is being read, leads to the table, which says how far that is.
    """
    if kind not in ("csv", "json"):
        raise Problem("not-found", "Volumes can be downloaded as csv or json.")
    query = TableQuery.from_request()
    parameters: dict[str, Any] = {
        **query.filters,
        "sort": query.sort,
        "fields": ",".join(request.args.getlist("columns")),
    }
    parameters["limit"] = str(_DOWNLOAD_ROWS)
    first = call("GET", f"/v4/{subsystem}/volumes", query=parameters, headers={"Prefer": "wait=20"})
    if first.status == 202:  # noqa: PLR2004
        return redirect_to(request.full_path.rstrip("?").replace(f"/volumes.{kind}", "/volumes", 1))
    if first.status != 200:  # noqa: PLR2004
        return problem_page(first)
    write = _csv if kind == "csv" else _json
    response = Response(
        stream_with_context(write(_pages(subsystem, first, parameters))),
        content_type="text/csv; charset=utf-8" if kind == "csv" else "application/json",
    )
    response.headers["Content-Disposition"] = f'attachment; filename="{subsystem}-volumes.{kind}"'
    return response


def _pages(subsystem: str, first: ApiResponse, parameters: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    answer = first
    while True:
        yield answer.body
        token = next_token(answer)
        if not token:
            return
        answer = call("GET", f"/v4/{subsystem}/volumes", query={**parameters, "page_token": token})
        if answer.status != 200:  # noqa: PLR2004
            # The transfer is cut off: half a table must not look like a whole one.
            raise Problem("page-token-expired", "The listing went away while it was being downloaded.")


def _csv(pages: Iterator[list[dict[str, Any]]]) -> Iterator[str]:
    fields: list[str] = []
    for rows in pages:
        out = io.StringIO()
        writer = csv.writer(out)
        if not fields:
            # Also a table without rows has its head.
            fields = list(rows[0]) if rows else request.args.getlist("columns") or list(EVERY_COLUMN)
            writer.writerow(fields)
        # A text that begins like a formula is one to spreadsheets.
        writer.writerows([[_cell(row.get(field)) for field in fields] for row in rows])
        yield out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value


def _json(pages: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    separator = b"["
    for rows in pages:
        for row in rows:
            yield separator + orjson.dumps(row)
            separator = b",\n"
    yield b"]\n" if separator != b"[" else b"[]\n"
