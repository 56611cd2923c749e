"""The API reference of the manual: the OpenAPI document as Markdown, so that it needs no script to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from worker.catalog.problem_types import PROBLEM_TYPES

Document = Mapping[str, Any]

_METHODS = ("get", "post", "put", "patch", "delete")
#: The beginning of a filter's description; there is one filter for each field.
_FILTER = "Only those whose"
#: Statuses of all requests, documented once.
_ALWAYS = {"default", "400", "401", "403", "414", "422", "429", "431", "500", "503"}


def markdown(document: Document) -> str:
    """Return the reference: every route by its tag, then the schemas, then the kinds of problems."""
    lines = [*_routes(document), *_schemas(document), *_problems()]
    return "\n".join(lines) + "\n"


def _routes(document: Document) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"\n## {tag['description']}\n"
        for path, item in document["paths"].items():
            for method in _METHODS:
                if tag["name"] in item.get(method, {}).get("tags", ()):
                    yield from _route(method, path, item, item[method])


def _route(method: str, path: str, item: Document, operation: Document) -> Iterator[str]:
    yield f"\n### {method.upper()} {path}\n"
    yield f"{operation.get('summary', '').rstrip('.')}.\n"
    if operation.get("description"):
        yield f"{operation['description'].strip()}\n"
    role = f", role {operation['x-role']}" if "x-role" in operation else ""
    yield f"Operation `{operation['operationId']}`{role}\n"
    yield from _parameters([*item.get("parameters", ()), *operation.get("parameters", ())])
    body = operation.get("requestBody")
    if body:
        yield f"\nBody: {_content(body)}{'' if body.get('required') else ' (may be left out)'}\n"
    yield from _answers(operation["responses"])


def _parameters(parameters: list[Document]) -> Iterator[str]:
    named_parameters = [parameter for parameter in parameters if "name" in parameter]
    filters = [parameter for parameter in named_parameters if parameter.get("description", "").startswith(_FILTER)]
    if not named_parameters:
        return
    yield "\n| Parameter | In | Type | Meaning |\n|---|---|---|---|"
    for parameter in named_parameters:
        if parameter not in filters:
            name = f"`{parameter['name']}`" + (" (needed)" if parameter.get("required") else "")
            meaning = _cell(parameter.get("description", ""))
            yield f"| {name} | {parameter['in']} | {_type(parameter['schema'])} | {meaning} |"
    if filters:
        names = ", ".join(f"`{parameter['name']}`" for parameter in filters)
        operators = filters[0]["description"].partition(" is: ")[2]
        yield f"\nFilters in the query, one for each field: {names}. Each is {operators}.\n"


def _answers(responses: Document) -> Iterator[str]:
    yield "\n| Status | Answer |\n|---|---|"
    for status in sorted(responses.keys() - _ALWAYS):
        answer = responses[status]
        description = answer.get("description") or HTTPStatus(int(status)).phrase
        yield f"| {status} | {_cell(description)}{_with_content(answer)} |"


def _with_content(answer: Document) -> str:
    return f": {_content(answer)}" if answer.get("content") else ""


def _content(described: Document) -> str:
    return ", ".join(_type(media["schema"]) for media in described["content"].values() if "schema" in media)


def _schemas(document: Document) -> Iterator[str]:
    yield "\n## Schemas\n"
    schemas = document["components"]["schemas"]
    for listed, schema in schemas.items():
        name = listed.removeprefix("Listed")
        if name.startswith("Pagination") or (name != listed and name in schemas):
            continue
        if "properties" not in schema:
            yield f"\n### {name}\n\n{schema.get('description') or 'An object.'}"
            continue
        needed = schema.get("required", ())
        yield f"\n### {name}\n\n| Member | Type | Meaning |\n|---|---|---|"
        for member, described in schema["properties"].items():
            mark = " (needed)" if member in needed else ""
            yield f"| `{member}`{mark} | {_type(described)} | {_cell(described.get('description', ''))} |"


def _type(schema: Document) -> str:
    """Return a short description of a schema; its name if it has one."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2].removeprefix("Listed")
        return f"[{name}](#{name.lower()})"
    if any(choice in schema for choice in ("allOf", "anyOf", "oneOf")):
        choices = next(schema[choice] for choice in ("allOf", "anyOf", "oneOf") if choice in schema)
        return " or ".join(_type(choice) for choice in choices)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kinds = schema.get("type", "any")
    words = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    return words + _limits(schema)


def _limits(schema: Document) -> str:
    if "enum" in schema:
        return ": " + ", ".join(f"`{choice}`" for choice in schema["enum"] if choice is not None)
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None and most is None:
        return ""
    return f", {least} to {most}" if most is not None and least is not None else f", at least {least}"


def _problems() -> Iterator[str]:
    yield "\n## Problems\n\nThe `code` of an error, its status and what to make of it.\n"
    yield "| Code | Status | Meaning | Retry |\n|---|---|---|---|"
    for code, kind in PROBLEM_TYPES.items():
        yield f"| `{code}` | {kind.status} | {_cell(kind.meaning)} | {'yes' if kind.retryable else ''} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
