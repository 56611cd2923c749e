"""The OpenAPI documentation of path parameters."""

from __future__ import annotations

import re
from typing import Any

_PART = re.compile(r"<(?:\w+:)?(\w+)>")
_SEGMENT = r"(?!\.{1,2}(?:/|$))(?!(?:snapshots|locks|rule)(?:/|$))[A-Za-z0-9_.-]+"


def _part(name: str, description: str, example: str, pattern: str = "") -> dict[str, Any]:
    schema = {"type": "string", **({"pattern": pattern} if pattern else {})}
    return {"in": "path", "name": name, "description": description, "example": example, "schema": schema}


_PARTS = {
    part["name"]: part
    for part in (
        _part(
            "volume",
            "The volume: its name, or `node:/junction/path`",
            "dbvol01",
            rf"^(?:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,202}}|[A-Za-z0-9_.-]*:(?:/{_SEGMENT})+)$",
        ),
        _part("name", "The snapshot's name", "before-upgrade", r"^[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,254}$"),
        _part("host", "A host name or an IP address", "node1.example.org"),
        _part("policy", "The export policy's name", "dbservers", r"^[A-Za-z0-9_][A-Za-z0-9_./:-]{0,255}$"),
        _part(
            "rule",
            "An NFS client match: a host name, `*.domain`, `.domain`, an IP address or network, `@netgroup`",
            "10.0.0.0/8",
        ),
        _part("job_id", "The job's id", "01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90"),
    )
}


def parameters_of(rule: str) -> list[dict[str, Any]]:
    """Return the documentation of a rule's parameters, as far as it is here."""
    return [dict(_PARTS[name]) for name in _PART.findall(rule) if name in _PARTS]


def parameter_with_examples(name: str, examples: dict[str, Any]) -> dict[str, Any]:
    """Return the documentation of a path parameter with examples of its own, by their names."""
    part = {key: value for key, value in _PARTS[name].items() if key != "example"}
    return part | {"examples": examples}


def subsystem_parameter(subsystems: tuple[str, ...]) -> dict[str, Any]:
    """Return the documentation of the parameter that names a storage system."""
    schema = {"type": "string", "enum": list(subsystems)}
    return {"in": "path", "name": "subsystem", "description": "The storage system", "schema": schema}
