"""Responses of the API: documents in which each field has a value of its own, at one fixed time."""

from __future__ import annotations

from typing import Any

from worker.catalog.problem_types import PROBLEM_TYPES

#: The present, for all pages.
NOW = "2026-03-02T12:00:00.000Z"
GIB = 2**30
_ID = "01990b7e-6c1e-7c55-9d0a-4b7c2f6e{:04x}"
UNFINISHED = {"done": False, "cancellable": True, "finished_at": None, "expires_at": None, "result": None}


def id_of(number: int) -> str:
    """The id of a job; a greater one was accepted later."""
    return _ID.format(number)


def volume(name: str = "db01", **fields: Any) -> dict[str, Any]:
    """A volume of 10 GiB, a quarter of which is used."""
    return {
        "name": name, "uuid": "8c1a-42", "state": "online", "filer_address": "192.0.2.7", "aggregate_name": "aggr1",
        "junction_path": f"/{name}", "size_total": 10 * GIB, "size_used": 5 * GIB // 2, "autosize_enabled": True,
        "max_autosize": 20 * GIB, "active_policy_name": "dbs/a b", "percentage_snapshot_reserve": 5,
        "percentage_snapshot_reserve_used": 40, "compression_enabled": False, "inline_compression": None,
        "caching_policy": "auto", "creation_time": "2026-01-02T03:04:05Z", "snapshot_policy": "daily",
        "security_style": "unix", "unix_permissions": "0750", "space_guarantee": "none", "qos_policy": "",
        "tiering_policy": "auto", "comment": "Orders & <invoices>", "type": "rw",
    } | fields  # fmt: skip


def snapshot(name: str, at: str | None = "2026-03-01T12:00:00Z", kib: int | None = 2048) -> dict[str, Any]:
    """A snapshot."""
    return {"name": name, "creation_time": at, "size_kbytes": kib}


def problem(code: str, detail: str = "It is so.", **members: Any) -> dict[str, Any]:
    """A problem document."""
    kind = PROBLEM_TYPES[code]
    return {
        "type": f"/problems/{code}", "title": kind.title, "status": kind.status, "detail": detail, "code": code,
        "retryable": kind.retryable, "request_id": "req-7",
    } | members  # fmt: skip


def wrong(field: str, detail: str = "is wrong") -> dict[str, Any]:
    """The problem of a body with one field that is wrong."""
    return problem("validation-failed", f"{field}: {detail}", errors=[{"pointer": f"/{field}", "detail": detail}])


def job(
    number: int = 0x100, operation: str = "create_volume", state: str = "succeeded", **fields: Any
) -> dict[str, Any]:
    """A job of ann on the volume db01."""
    job_id = id_of(number)
    ends: dict[str, Any] = {} if state in ("succeeded", "failed", "cancelled") else UNFINISHED
    return {
        "id": job_id, "operation": operation, "state": state, "done": True, "subsystem": "filer",
        "target": "/v4/filer/volumes/db01", "request": {"volume": "db01", "size_total": GIB}, "requested_by": "ann",
        "request_id": "req-1", "created_at": "2026-03-02T11:00:00.000Z", "started_at": "2026-03-02T11:00:05.000Z",
        "updated_at": "2026-03-02T11:00:45.000Z", "finished_at": "2026-03-02T11:00:45.000Z",
        "expires_at": "2026-03-09T11:00:45.000Z", "cancel_requested_at": None,
        "queue": {"name": "filer.write", "position": 0, "workers_online": 2, "waiting_reason": None},
        "progress": dict.fromkeys(("percent", "current", "total", "unit", "message")), "attempt": 1, "attempts": [],
        "cancellable": False, "retry_of": None, "batch": None, "backend_job": None, "result": None, "error": None,
        "links": dict.fromkeys(("self", "result", "cancel"), f"/v4/jobs/{job_id}"),
    } | ends | fields  # fmt: skip


def queued(number: int, waiting_reason: str | None = None, position: int = 0, **fields: Any) -> dict[str, Any]:
    """A job that waits."""
    queue = {"name": "filer.write", "position": position, "workers_online": 1, "waiting_reason": waiting_reason}
    return job(number, **{"state": "queued", "started_at": None, "queue": queue} | fields)


def progress(percent: int | None, current: int | None = None, total: int | None = None, message: str = "") -> Any:
    """The progress of a job."""
    return {"percent": percent, "current": current, "total": total, "unit": "volumes", "message": message or None}
