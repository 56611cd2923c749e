"""A POST to a volume below /v3, with the predecessor's defaults for missing fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.http.problems import Problem, invalid
from api.jobs.volume_requests import CLONE_FIELDS, ROLL_BACK_FIELDS, Request
from api.jobs.volume_requests import parse_volume_post as parse_v4
from api.schemas import names
from api.schemas.fields import MOST_BYTES
from storage_backends.models import parse_reference
from worker.catalog.operations import CREATE_VOLUME

#: The driver whose volumes need a size and a junction path.
_NETAPP = "NetappStorage"
_CHECKS = {"name": names.volume_name, "junction_path": names.junction_path}


def parse_volume_post(volume: str, body: Mapping[str, Any], driver: str) -> Request:
    """Return the operation and its arguments.

    Args:
        volume: the volume as its path names it.
        body: the known fields.
        driver: the class of the storage system's driver.

    Raises:
        Problem: `validation-failed`: a field is missing, or does not fit.
    """
    fields = _counting(volume, body)
    operation, arguments = parse_v4(volume, fields)
    if operation is CREATE_VOLUME:
        if driver == _NETAPP:
            _require(arguments, "size_total", "junction_path")
        arguments = _with_defaults(arguments)
    return operation, arguments


def _counting(volume: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are used: without those in the path, or that a clone or roll-back does not support."""
    ignored = {"junction_path"} if parse_reference(volume) else {"name"}
    if "from_volume" in body:
        ignored |= body.keys() - CLONE_FIELDS
    elif "from_snapshot" in body:
        ignored |= (body.keys() - ROLL_BACK_FIELDS) | {"name"}
    fields = {name: value for name, value in body.items() if name not in ignored}
    for name, check in _CHECKS.items():
        if name in fields and (wrong := check(fields[name])):
            raise invalid(f"/{name}", wrong)
    return fields


def _require(arguments: Mapping[str, Any], *fields: str) -> None:
    missing = [name for name in fields if name not in arguments]
    if missing:
        errors = [{"pointer": f"/{name}", "detail": "is required"} for name in missing]
        raise Problem("validation-failed", f"{', '.join(missing)}: required for a new volume", errors=errors)


def _with_defaults(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with the predecessor's defaults, which may differ from the storage system's own."""
    full = {
        "percentage_snapshot_reserve": 0,
        "compression_enabled": True,
        "inline_compression": True,
        "autosize_enabled": True,
        **arguments,
    }
    if full["autosize_enabled"] and "size_total" in full:
        full.setdefault("max_autosize", min(full["size_total"] * 6 // 5, MOST_BYTES))
    return full
