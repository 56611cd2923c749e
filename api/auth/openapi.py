"""The OpenAPI documentation of the routes for signing in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from api.http.problems import MEDIA_TYPE

NEXT: dict[str, Any] = {
    "in": "query",
    "name": "next",
    "required": False,
    "description": "Path on this service to go to afterwards; anything else is ignored",
    "schema": {"type": "string", "default": "/"},
}
THERE: dict[str, Any] = {
    "description": "There you go",
    "headers": {"Location": {"description": "Where", "schema": {"type": "string", "format": "uri-reference"}}},
}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
}


def problems(*statuses: int) -> dict[str, Any]:
    """Return the documentation of problem responses."""
    return {
        str(status): {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
        for status in statuses
    }
