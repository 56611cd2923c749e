"""A POST to a volume: creates it, clones it from a snapshot of another one, or rolls it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.http.problems import Problem, invalid
from storage_backends.models import VolumePath, parse_reference
from worker.catalog.operations import CLONE_VOLUME, CREATE_VOLUME, ROLL_BACK_VOLUME, Operation

#: The fields that the body of a clone, and of a roll-back, may have.
CLONE_FIELDS = frozenset({"name", "junction_path", "from_volume", "from_snapshot", "active_policy_name", "size_total"})
ROLL_BACK_FIELDS = frozenset({"name", "from_snapshot"})

Request = tuple[Operation, dict[str, Any]]


def parse_volume_post(volume: str, body: Mapping[str, Any]) -> Request:
    """Return the operation and its arguments.

    Raises:
        Problem: `validation-failed`: the fields do not fit together, or do not fit the path.
    """
    if "from_volume" in body:
        if "from_snapshot" not in body:
            raise invalid("/from_snapshot", "is required with from_volume")
        _refuse_others(body, CLONE_FIELDS, "cannot be chosen for a clone")
        return CLONE_VOLUME, _new_volume(volume, body)
    if "from_snapshot" in body:
        _refuse_others(body, ROLL_BACK_FIELDS, "cannot be chosen in a roll-back")
        _check_same("name", body, volume)
        return ROLL_BACK_VOLUME, {"volume": volume, "from_snapshot": body["from_snapshot"]}
    return CREATE_VOLUME, _new_volume(volume, body)


def _new_volume(volume: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for a new volume, which needs a name also where the URL has a junction path."""
    path = parse_reference(volume)
    arguments = dict(body)
    if path is None:
        _check_same("name", body, volume)
        name = arguments.pop("name", volume)
        return {"volume": name, **arguments}
    return _mounted(path, arguments)


def _mounted(path: VolumePath, arguments: dict[str, Any]) -> dict[str, Any]:
    if "name" not in arguments:
        raise invalid("/name", "is required when the address is a path")
    _check_same("junction_path", arguments, path.junction_path)
    name = arguments.pop("name")
    return {**arguments, "volume": name, "junction_path": path.junction_path}


def _check_same(field: str, body: Mapping[str, Any], addressed: str) -> None:
    if body.get(field, addressed) != addressed:
        raise invalid(f"/{field}", "must be what the address says")


def _refuse_others(body: Mapping[str, Any], allowed: frozenset[str], why: str) -> None:
    errors = [{"pointer": f"/{field}", "detail": why} for field in body if field not in allowed]
    if errors:
        raise Problem("validation-failed", f"{', '.join(e['pointer'][1:] for e in errors)}: {why}", errors=errors)
