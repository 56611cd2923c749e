"""Queries of collections: filters, sorting, fields and pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from api.http.preferences import whole_number
from api.http.problems import Problem, invalid
from api.reads.filter_expressions import BadExpression, Predicate, compile_expression, count_terms
from api.reads.page_token import Page, parse_token
from api.services import current_services
from storage_backends.client_matches import canonical_host, canonical_match
from storage_backends.models import ExportPolicy, Snapshot, Volume
from storage_backends.models import Lock as LockModel
from worker.catalog import resource_types as views
from worker.catalog.resource_types import ResourceType

MOST_LIMIT = 1000
#: A value in a filter expression, without the signs of negation, quotation and choice.
_WORD = re.compile(r'[^!"|]+')


def _rule(text: str) -> str:
    """Return a rule in canonical form; a wildcard that may be for netgroups, too, keeps its case."""
    return text if "*" in text.removeprefix("*.") else canonical_match(text)


#: The fields whose values listings hold in canonical form.
_CANONICAL = {"host": canonical_host, "rules": _rule}
_MODELS: dict[str, type] = {
    views.VOLUMES.name: Volume,
    views.RESTRICTED.name: Volume,
    views.SNAPSHOTS.name: Snapshot,
    views.LOCKS.name: LockModel,
    views.POLICIES.name: ExportPolicy,
}


@dataclass(frozen=True)
class Query:
    """The query of a collection."""

    filters: tuple[tuple[str, Predicate], ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    fields: tuple[str, ...] = ()
    limit: int | None = None
    page: Page | None = None
    #: The parameters of filters and order in canonical form; identifies the query.
    text: str = ""
    parameters: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def plain(self) -> bool:
        """Does it request the whole listing, unchanged?"""
        return not self.text and self.limit is None and self.page is None


@cache
def field_types(resource_type: ResourceType) -> dict[str, type]:
    """Return the types of a collection's fields: str, int, bool, tuple, or datetime for a text that is a time."""
    hints = get_type_hints(_MODELS[resource_type.name])
    return {name: datetime if name.endswith("_time") else _plain_type(hint) for name, hint in hints.items()}


def _plain_type(hint: Any) -> type:
    if get_origin(hint) is tuple:
        return tuple
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    return kinds[0]  # type: ignore[no-any-return]


def parse_query(resource_type: ResourceType, arguments: MultiDict[str, str]) -> Query:
    """Read the query of a request.

    Raises:
        Problem: ``validation-failed``, naming the parameter.
    """
    types = field_types(resource_type)
    _check_terms(types, arguments)
    filters = []
    for name, text in arguments.items(multi=True):
        if name in types:
            filters.append((name, _filter(name, text, types[name])))
        elif name not in ("sort", "fields", "limit", "page_token"):
            raise invalid(f"/{name}", "is no parameter of this collection.")
    sort = _sort(_listed(arguments, "sort"), types)
    fields = tuple(_field(part, types, "fields") for part in _listed(arguments, "fields"))
    chosen = sorted((name, text) for name, text in arguments.items(multi=True) if name not in ("limit", "page_token"))
    text = urlencode(chosen)
    page = parse_token(arguments["page_token"], text) if "page_token" in arguments else None
    return Query(tuple(filters), sort, fields, _limit(arguments), page, text, tuple(chosen))


def no_query(arguments: Mapping[str, str]) -> Query:
    """Return the empty query of a single object, which has no parameters.

    Raises:
        Problem: the request has parameters.
    """
    for name in arguments:
        raise invalid(f"/{name}", "is no parameter of this resource.")
    return Query()


def _check_terms(types: Mapping[str, type], arguments: MultiDict[str, str]) -> None:
    """Refuse filters that together are too expensive."""
    most = current_services().config.max_filter_terms
    if sum(count_terms(text) for name, text in arguments.items(multi=True) if name in types) > most:
        detail = f"The filters are too many: at most {most}, counting each alternative and each asterisk."
        raise Problem("validation-failed", detail, limit="SAPI_MAX_FILTER_TERMS")


def _sort(keys: Sequence[str], types: Mapping[str, type]) -> tuple[tuple[str, bool], ...]:
    most = current_services().config.max_sort_keys
    if len(keys) > most:
        raise Problem("validation-failed", f"sort: takes at most {most} fields.", limit="SAPI_MAX_SORT_KEYS")
    return tuple(_sort_key(part, types) for part in keys)


def _filter(name: str, text: str, kind: type) -> Predicate:
    canonical = _CANONICAL.get(name)
    if canonical is not None:
        text = _WORD.sub(lambda word: canonical(word[0]), text)
    try:
        return compile_expression(text, kind)
    except BadExpression as exc:
        raise invalid(f"/{name}", f"{exc}.") from None


def _listed(arguments: MultiDict[str, str], name: str) -> list[str]:
    if name not in arguments:
        return []
    if len(arguments.getlist(name)) > 1:
        raise invalid(f"/{name}", "is given more than once.")
    return [part.strip() for part in arguments[name].split(",")]


def _field(text: str, types: Mapping[str, type], parameter: str) -> str:
    if text not in types:
        raise invalid(f"/{parameter}", f"takes names of fields ({', '.join(types)}), separated by commas.")
    return text


def _sort_key(text: str, types: Mapping[str, type]) -> tuple[str, bool]:
    descending = text.startswith("-")
    name = _field(text.removeprefix("-"), types, "sort")
    if types[name] is tuple:
        raise invalid("/sort", f"cannot go by {name}: it is a list.")
    return name, descending


def _limit(arguments: MultiDict[str, str]) -> int | None:
    if "limit" not in arguments:
        return None
    limit = whole_number(arguments["limit"])
    if len(arguments.getlist("limit")) > 1 or limit is None or not 1 <= limit <= MOST_LIMIT:
        raise invalid("/limit", f"is a whole number from 1 to {MOST_LIMIT}.")
    return limit
