"""The ordering keys of a job (volumes, junction paths, policies, listings): jobs that share one run one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage_backends.models import default_junction_path, junction_key, parse_reference
from worker.catalog.operations import Operation
from worker.config.json_encoding import as_json


def ordering_keys(operation: Operation, subsystem: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a job's record that order it.

    ``keys`` are the ordering keys; ``changed`` those of what the job changes, where that is not all; ``references`` the
    arguments that are paths, whose volumes a worker has yet to resolve; ``behind_paths`` says that the job may not
    overtake a change whose volume is not resolved yet.
    """
    if operation.reads is not None:
        keys = [f"read:{operation.reads.cache_key(subsystem, arguments)}"]
        references = [name for name in ("volume",) if parse_reference(str(arguments.get(name, "")))]
    else:
        keys = [_order_key(name, str(arguments[name])) for name in operation.exclusive_on]
        references = [
            name for name in operation.exclusive_on if name != "policy" and parse_reference(str(arguments[name]))
        ]
        if operation.makes_volume:
            # Where it will be mounted: a change that names it by this path runs after it.
            keys.append(
                _path_key(str(arguments.get("junction_path") or default_junction_path(str(arguments["volume"]))))
            )
    sources = {_order_key(name, str(arguments[name])) for name in operation.exclusive_on if name == "from_volume"}
    of_volumes = operation.is_change and "policy" not in operation.exclusive_on
    return {
        "keys": as_json(sorted(set(keys))).decode(),
        **({"changed": as_json(sorted({*keys} - sources)).decode()} if sources else {}),
        "references": as_json(references).decode() if references else "",
        "behind_paths": "1" if of_volumes else "",
    }


def volume_order_key(name: str) -> str:
    """Return the ordering key of the volume ``name``."""
    return f"volume:{name}"


def _order_key(argument: str, value: str) -> str:
    if argument == "policy":
        return f"policy:{value}"
    path = parse_reference(value)
    return _path_key(path.junction_path) if path else volume_order_key(value)


def _path_key(junction_path: str) -> str:
    return f"path:{junction_key(junction_path)}"
