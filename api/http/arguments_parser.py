"""Strict parsing of views' arguments; every error has a JSON pointer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NoReturn

import marshmallow as ma
from flask import Request, request
from webargs.flaskparser import FlaskParser
from webargs.multidictproxy import MultiDictProxy

from api.http.bodies import json_object
from api.http.problems import MOST_ERRORS, Problem, invalid


class StrictParser(FlaskParser):
    """Reads bodies with `api.http.bodies`, refuses unknown and repeated query parameters, and raises problems."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {"json": ma.RAISE, "query": ma.RAISE}  # noqa: RUF012 - theirs

    def load_json(self, _request: Request, _schema: ma.Schema) -> dict[str, Any]:
        return json_object()

    def load_querystring(self, req: Request, schema: ma.Schema) -> MultiDictProxy:
        check_unrepeated()
        return MultiDictProxy(req.args, schema)

    def handle_error(self, error: ma.ValidationError, *_: Any, **__: Any) -> NoReturn:
        (messages,) = error.normalized_messages().values()  # type: ignore[no-untyped-call]
        errors = list(islice(_errors(messages, ""), MOST_ERRORS))
        detail = "; ".join(f"{entry['pointer'].removeprefix('/')}: {entry['detail']}" for entry in errors[:5])
        raise Problem("validation-failed", detail.removeprefix(": "), errors=errors)


def check_unrepeated() -> None:
    """Refuse a query that has a parameter twice."""
    for name, values in request.args.lists():
        if len(values) > 1:
            raise invalid(f"/{_escaped(name)}", "this query parameter is given more than once")


def reject_query_parameters(*taken: str) -> None:
    """Refuse every query parameter except those in ``taken``."""
    unknown = islice((name for name in request.args if name not in taken), MOST_ERRORS)
    errors = [{"pointer": f"/{_escaped(name)}", "detail": "unknown query parameter"} for name in unknown]
    if errors:
        names = ", ".join(error["pointer"][1:] for error in errors)
        raise Problem("validation-failed", f"unknown query parameter: {names}", errors=errors)


def _errors(messages: Any, pointer: str) -> Iterator[dict[str, str]]:
    """Flatten marshmallow's nested messages."""
    if isinstance(messages, dict):
        for name, inner in messages.items():
            yield from _errors(inner, pointer if name == "_schema" else f"{pointer}/{_escaped(str(name))}")
    else:
        for message in messages if isinstance(messages, list) else [messages]:
            yield {"pointer": pointer, "detail": str(message)}


def _escaped(name: str) -> str:
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[:100])
    return printable.replace("~", "~0").replace("/", "~1")
