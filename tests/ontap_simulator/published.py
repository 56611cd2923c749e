"""Holds requests to the schema that NetApp publishes: paths, parameters, fields, and what only ONTAP may set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.ontap_simulator.server import Seen

#: What stands behind a path.
_KINDS = {
    "/storage/volumes": "Volume",
    "/storage/volumes/{uuid}": "Volume",
    "/storage/volumes/{volume.uuid}/snapshots": "Snapshot",
    "/storage/volumes/{volume.uuid}/snapshots/{uuid}": "Snapshot",
    "/protocols/locks": "ClientLock",
    "/protocols/nfs/export-policies": "ExportPolicy",
    "/protocols/nfs/export-policies/{policy.id}/rules": "ExportRule",
    "/protocols/nfs/export-policies/{policy.id}/rules/{index}": "ExportRule",
    "/cluster/jobs": "Job",
    "/cluster/jobs/{uuid}": "Job",
    "/svm/svms": "Svm",
    "/storage/aggregates": "Aggregate",
}
_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "number": (int, float),
    "array": list,
    "object": dict,
}


class PublishedSchema:
    """The operations and definitions of one release."""

    def __init__(self, operations: dict[str, Any], definitions: dict[str, Any]) -> None:
        self._definitions = definitions
        self._operations = []
        for name, operation in operations.items():
            method, _, path = name.partition(" ")
            pattern = re.compile(re.sub(r"\\\{[^/]+\\\}", "[^/]+", re.escape(path)))
            self._operations.append((method, path, pattern, frozenset(operation["query"])))

    @classmethod
    def read(cls, path: Path) -> PublishedSchema:
        """From its file."""
        document = json.loads(path.read_text())
        return cls(document["operations"], document["definitions"])

    def errors(self, seen: Seen) -> Iterator[str]:
        """What is wrong with a request, in words; the command line is not in the schema."""
        if seen.path.startswith("/private/cli/"):
            return
        request = f"{seen.method} {seen.path}"
        for method, path, pattern, parameters in self._operations:
            if method == seen.method and pattern.fullmatch(seen.path):
                for name, value in seen.query:
                    yield from self._parameter(request, path, parameters, name, value)
                if seen.body:
                    yield from self._body(request, _KINDS.get(path, ""), seen.body)
                return
        yield f"{request}: there is no such operation"

    def _parameter(self, request: str, path: str, parameters: frozenset[str], name: str, value: str) -> Iterator[str]:
        if name == "fields":
            for field in value.split(","):
                if field != "*" and not self._has(_KINDS.get(path, ""), field.split(".")):
                    yield f"{request}: there is no field {field!r}"
        elif name not in parameters and not name.startswith("start."):
            yield f"{request}: there is no parameter {name!r}"

    def _has(self, definition: str, parts: list[str]) -> bool:
        """Is there such a field, at whatever depth?"""
        schema = self._definitions.get(definition, {}).get("properties", {}).get(parts[0])
        if schema is None or len(parts) == 1:
            return schema is not None
        inner = schema.get("items", schema).get("$ref", "")
        return self._has(inner.rpartition("/")[2], parts[1:])

    def _body(self, request: str, definition: str, body: dict[str, Any], prefix: str = "") -> Iterator[str]:
        properties = self._definitions.get(definition, {}).get("properties", {})
        for name, value in body.items():
            schema = properties.get(name)
            if schema is None:
                yield f"{request}: the body has no field {prefix + name!r}"
            elif schema.get("readOnly"):
                yield f"{request}: {prefix + name!r} is read-only"
            else:
                yield from self._value(request, schema, value, prefix + name)

    def _value(self, request: str, schema: dict[str, Any], value: Any, name: str) -> Iterator[str]:
        if "$ref" in schema:
            if isinstance(value, dict):
                yield from self._body(request, schema["$ref"].rpartition("/")[2], value, name + ".")
            else:
                yield f"{request}: {name!r} is no object"
            return
        kind = schema.get("type", "string")
        if not isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, bool)):
            yield f"{request}: {name!r} is no {kind}"
        elif "enum" in schema and value not in schema["enum"]:
            yield f"{request}: {name!r} cannot be {value!r}"
        elif kind == "array":
            for item in value:
                yield from self._value(request, schema["items"], item, name)
