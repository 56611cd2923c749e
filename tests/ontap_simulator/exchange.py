"""One request and its reply, and what all collections have in common: queries, fields, pages, jobs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from tests.ontap_simulator.errors import Refusal, missing
from tests.ontap_simulator.queries import matches, values_at
from tests.ontap_simulator.shapes import CONTROLS, Shape
from tests.ontap_simulator.world import Job, Record, World


@dataclass
class Request:
    """The request of a client that is signed in."""

    method: str
    path: str
    query: dict[str, str]
    raw_body: bytes = b""
    #: The vserver that the account is confined to; "" for the cluster's.
    scope: str = ""
    #: What a fault does to the job that this request starts.
    job_failure: Refusal | None = None
    job_vanishes: bool = False

    @property
    def body(self) -> Any:
        if not self.raw_body.strip():
            return {}
        try:
            return json.loads(self.raw_body)
        except ValueError:
            raise Refusal(262199, "The body is not valid JSON.") from None

    @property
    def conditions(self) -> dict[str, str]:
        return {name: value for name, value in self.query.items() if name not in CONTROLS and name[:6] != "start."}

    @property
    def fields(self) -> list[str]:
        return [name for name in self.query.get("fields", "").split(",") if name]

    def number(self, name: str, default: int, highest: int) -> int:
        text = self.query.get(name, str(default))
        if not text.isdigit() or int(text) > highest:
            raise Refusal(262197, f'The value "{text}" is invalid for field "{name}" (<0..{highest}>)', target=name)
        return int(text)


@dataclass
class Reply:
    """What the client gets."""

    status: int = 200
    body: Record = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


def one(world: World, request: Request, shape: Shape, record: Record | None) -> Reply:
    """A single object."""
    if record is None or not in_scope(request, record) or not world.shows(record):
        raise missing()
    _require_known(world, request, shape)
    return Reply(200, shape.show(record, request.fields or ["*"]))


def in_scope(request: Request, record: Record) -> bool:
    """May the account see it?"""
    return not request.scope or (record.get("svm") or {}).get("name") in {None, request.scope}


def _require_known(world: World, request: Request, shape: Shape) -> None:
    shape.require_fields(request.fields)
    for name in request.fields:
        if name in world.unknown_fields:
            refused = request.query["fields"] if world.is_vague_about_fields else name
            raise Refusal(262197, f'The value "{refused}" is invalid for field "fields" (<field,...>)', target="fields")


def require_known_body(world: World, body: Record) -> None:
    """Refuse fields of a body that this release does not know."""
    for name in sorted(world.unknown_fields):
        if values_at(body, name):
            raise Refusal(262179, f'Unexpected argument "{name}".', target=name)


def listing(world: World, request: Request, shape: Shape, records: Iterable[Record], key: str = "uuid") -> Reply:
    """A collection: what meets the query, the page of it, and where the next one is."""
    shape.require_query(request.query)
    _require_known(world, request, shape)
    seen = [record for record in records if in_scope(request, record) and world.shows(record)]
    selected = [record for record in seen if matches(record, request.conditions)]
    if order := request.query.get("order_by"):
        name, _, direction = order.partition(" ")
        selected.sort(key=lambda record: (values_at(record, name) or [0])[0], reverse=direction == "desc")
    if request.query.get("return_records") == "false":
        return Reply(200, {"num_records": len(selected)})
    start = request.query.get("start." + key)
    if start is not None:
        keys = [str(record[key]) for record in selected]
        selected = selected[keys.index(start) :] if start in keys else selected if start == "0" else []
    size = request.number("max_records", 10_000, 10_000)
    page, rest = selected[:size], selected[size:]
    page_records = [shape.show(record, request.fields, list(request.conditions)) for record in page]
    body: Record = {"records": page_records, "num_records": len(page), "_links": {"self": {"href": _href(request, {})}}}
    if rest or (world.empty_last_page and page and len(page) == size):
        cursor = str(rest[0][key]) if rest else "~end"
        body["_links"]["next"] = {"href": _href(request, {"start." + key: cursor})}
    return Reply(200, body)


def _href(request: Request, more: dict[str, str]) -> str:
    query = urlencode({**more, **{k: v for k, v in request.query.items() if k not in more}}, quote_via=quote)
    return f"/api{request.path}" + (f"?{query}" if query else "")


def start_job(
    world: World,
    request: Request,
    apply: Callable[[], None],
    *,
    svm: str,
    created: str = "",
    cancellable: bool = False,
) -> Reply:
    """Begin a job for the change; 202 unless the client waits for its end."""
    path = f"/api{request.path}" + (f"/{created}" if created else "")
    job = world.start(f"{request.method} {path}", svm, apply, cancellable=cancellable)
    job.failure, job.vanishes = request.job_failure, request.job_vanishes
    if world.synchronous:
        return _at_once(world, request, job, Reply(201 if request.method == "POST" else 200))
    headers = {"Location": path} if created else {}
    body = {"job": {"uuid": job.uuid, "_links": {"self": {"href": f"/api/cluster/jobs/{job.uuid}"}}}}
    wait = request.number("return_timeout", 0, 120)
    return Reply(202, body, headers) if not wait else _awaited(world, request, job, Reply(202, body, headers), wait)


def _at_once(world: World, request: Request, job: Job, reply: Reply) -> Reply:
    """The change is made before it is answered, whatever ``return_timeout`` says."""
    job.due = 0.0
    world.tick()
    if job.state == "failure":
        raise Refusal(job.code, job.message)
    if world.synchronous == "named":
        reply.body = {"job": {"uuid": job.uuid}}
    return reply


def _awaited(world: World, request: Request, job: Job, reply: Reply, seconds: int) -> Reply:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        world.tick()
        if job.state == "failure":
            raise Refusal(job.code, job.message)
        if job.state == "success":
            reply.status = 201 if request.method == "POST" else 200
            return reply
        world.lock.release()
        time.sleep(0.01)
        world.lock.acquire()
    return reply


Handler = Callable[[World, Request, "re.Match[str]"], Reply]
Route = tuple[str, str, Handler]
