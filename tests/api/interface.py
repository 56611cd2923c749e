"""What clients rely on, one line for each parameter, body, response and field, so that a change shows in a review.

``make interface`` writes ``interface.txt`` anew, from the OpenAPI document: after a change that is meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy.docs import openapi

FILE = Path(__file__).with_name("interface.txt")
_METHODS = ("get", "post", "put", "patch", "delete")
#: What people read, and clients do not rely on.
_PROSE = frozenset({"description", "example", "examples", "summary", "title", "externalDocs"})


def lines(document: Mapping[str, Any]) -> list[str]:
    """Return the interface that an OpenAPI document describes."""
    interface = [line for path, item in document["paths"].items() for line in _of_path(path, item)]
    for name, schema in document["components"]["schemas"].items():
        interface += _of_schema(f"schema {name}", schema)
    interface += [f"event {name}: {_brief(item)}" for name, item in document["webhooks"].items()]
    return sorted(interface)


def _of_path(path: str, item: Mapping[str, Any]) -> Iterator[str]:
    for method in filter(item.__contains__, _METHODS):
        operation, start = item[method], f"{path} {method.upper()}"
        facts = {key: value for key, value in operation.items() if key.startswith("x-") or key == "security"}
        yield f"{start} {operation['operationId']}: {_brief(facts)}"
        for parameter in [*item.get("parameters", []), *operation.get("parameters", [])]:
            yield f"{start} {parameter['in']} {parameter['name']}: {_brief(parameter)}"
        for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{start} body {media_type}: {_brief(body)}"
        yield from _of_responses(start, operation["responses"])


def _of_responses(start: str, responses: Mapping[str, Any]) -> Iterator[str]:
    problems = [status for status in responses if status >= "4"]
    yield f"{start} refuses with {' '.join(problems)}"
    for status, response in responses.items():
        kinds = {media_type: body.get("schema", {}) for media_type, body in response.get("content", {}).items()}
        if status not in problems:
            yield f"{start} responds {status}: {_brief(kinds)} {' '.join(sorted(response.get('headers', ())))}".rstrip()


def _of_schema(start: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"{start}: {_brief({key: value for key, value in schema.items() if key != 'properties'})}"
    for name, field in schema.get("properties", {}).items():
        yield f"{start}.{name}: {_brief(field)}"


def _brief(value: Any) -> str:
    return json.dumps(_without_prose(value), sort_keys=True, ensure_ascii=False)


def _without_prose(value: Any) -> Any:
    if isinstance(value, dict):
        # A field may have the name of what describes one.
        return {key: _without_prose(each) for key, each in value.items() if key not in _PROSE or isinstance(each, dict)}
    return [_without_prose(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    FILE.write_text("\n".join(lines(openapi.document())) + "\n", "utf-8")
