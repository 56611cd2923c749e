"""Parses the request for a batch: its members as methods, paths and bodies, not validated yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.http.problems import invalid
from api.reads.for_each import choose_volumes
from api.services import current_services

#: The maximum number of members.
MOST_MEMBERS = 1000
#: The placeholder for the name of each chosen volume.
_NAME = "{name}"


@dataclass(frozen=True, slots=True)
class Member:
    """One change as requested; ``pointer`` is its JSON pointer in the body of the request."""

    pointer: str
    method: str
    path: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A batch as requested; ``request`` is what its document shows of it."""

    members: Sequence[Member]
    request: Mapping[str, Any]
    parallel: int
    stops_on_failure: bool


def parse_batch_request(body: Mapping[str, Any], wait_s: float) -> BatchRequest:
    """Return what is requested by a body that its schema has validated.

    Args:
        body: the body.
        wait_s: how long to wait for the listing of volumes where it is not cached (seconds).

    Raises:
        Problem: something is missing, or no volumes or too many are chosen.
    """
    document = {name: body[name] for name in ("name", "on_failure", "parallel") if name in body}
    if "for_each" in body:
        if "requests" in body:
            raise invalid("/for_each", "cannot be given with requests")
        members, chosen = _for_each(body, wait_s)
        document |= {"for_each": body["for_each"], "request": body["request"], "chosen": chosen}
    elif "requests" in body:
        if "request" in body:
            raise invalid("/request", "cannot be given with requests")
        members = [_member(f"/requests/{place}", sent) for place, sent in enumerate(body["requests"])]
    else:
        raise invalid("/requests", "is required, or for_each with request")
    return BatchRequest(members, document, body["parallel"], body["on_failure"] == "stop")


def _for_each(body: Mapping[str, Any], wait_s: float) -> tuple[list[Member], list[str]]:
    if "request" not in body:
        raise invalid("/request", "is required with for_each")
    template = _member("/request", body["request"])
    if _NAME not in template.path:
        raise invalid("/request/path", f"must have {_NAME}, which stands for the name of each volume")
    subsystem, where = body["for_each"]["subsystem"], body["for_each"]["where"]
    if subsystem not in current_services().subsystems:
        raise invalid("/for_each/subsystem", "no storage system of this name is configured; see /conf/subsystems")
    chosen = choose_volumes(subsystem, where, wait_s)
    if not 0 < len(chosen) <= MOST_MEMBERS:
        detail = f"chooses {len(chosen)} volumes; it must be 1 to {MOST_MEMBERS}"
        raise invalid("/for_each/where", detail)
    return [_member_for_volume(template, name) for name in chosen], chosen


def _member(pointer: str, sent: Mapping[str, Any]) -> Member:
    return Member(pointer, sent["method"], sent["path"], sent.get("body", {}))


def _member_for_volume(template: Member, name: str) -> Member:
    body = _with_name(template.body, name)
    return Member(template.pointer, template.method, template.path.replace(_NAME, name), body)


def _with_name(value: Any, name: str) -> Any:
    """Return the JSON with the placeholder replaced by the name."""
    if isinstance(value, str):
        return value.replace(_NAME, name)
    if isinstance(value, list):
        return [_with_name(member, name) for member in value]
    return {key: _with_name(member, name) for key, member in value.items()} if isinstance(value, dict) else value
