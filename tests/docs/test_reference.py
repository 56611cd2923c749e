"""The reference of the API, made of a small document: nothing that its tables need is lost or breaks them."""

from __future__ import annotations

from typing import Any

from deploy.docs.reference import markdown

_DOCUMENT: dict[str, Any] = {
    "tags": [{"name": "things", "description": "Things"}],
    "paths": {
        "/things/{name}": {
            "parameters": [
                {"name": "name", "in": "path", "required": True, "description": "a|b\nc", "schema": {"type": "string"}},
                {"name": "size", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 9}},
                {"name": "colour", "in": "query", "description": "Only those whose colour is: a word", "schema": {}},
            ],
            "delete": {
                "tags": ["things"], "operationId": "delete_thing", "summary": "Delete it.", "x-role": "ADMIN",
                "responses": {"204": {}, "401": {"description": "Who are you?"}},
            },
            "get": {
                "tags": ["things"], "operationId": "get_thing", "summary": "Get it.",
                "responses": {"200": {"description": "It", "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/ListedThing"}}}}},
            },
        }
    },
    "components": {
        "schemas": {
            "Thing": {
                "required": ["state"],
                "properties": {
                    "state": {"type": ["string", "null"], "enum": ["on", "off", None]},
                    "count": {"type": "integer", "minimum": 0},
                },
            },
            "ListedThing": {"properties": {"state": {"type": "string"}}},
            # There is none but as a part of listings.
            "ListedPart": {"properties": {"state": {"type": "string"}}},
            "Anything": {"description": "Whatever it is."},
            "Nothing": {},
        }
    },
}  # fmt: skip


def test_every_part_of_the_document_is_in_the_reference() -> None:
    lines = markdown(_DOCUMENT).splitlines()
    assert [line for line in lines if line.startswith("### ")] == [
        "### GET /things/{name}", "### DELETE /things/{name}", "### Thing", "### Part", "### Anything",
        "### Nothing",
    ]  # fmt: skip
    for line in (
        r"| `name` (needed) | path | string | a\|b c |",
        "| `size` | query | integer, 1 to 9 |  |",
        "Filters in the query, one for each field: `colour`. Each is a word.",
        "Operation `delete_thing`, role ADMIN",
        "Operation `get_thing`",
        "| 204 | No Content |",
        "| 200 | It: [Thing](#thing) |",
        "| `state` (needed) | string or null: `on`, `off` |  |",
        "| `count` | integer, at least 0 |  |",
        "Whatever it is.",
        "An object.",
    ):
        assert line in lines, line
    # Answers that all requests may have are described once.
    assert not [line for line in lines if "Who are you?" in line]
