"""Filters and sorts the records of a listing; results are cached for each of its states."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import compress
from threading import Lock
from typing import Any

from cachetools import LRUCache, cached

from api.reads.filter_expressions import Predicate
from worker.listings.listing import Listing

Filters = Sequence[tuple[str, Predicate]]
#: Fields, and whether the order of each is descending.
Sort = Sequence[tuple[str, bool]]
#: The cache key of a listing, and the tag of its state.
State = tuple[str, str]
#: Below this fraction (1/n) of the records, values are read one by one.
_FEW = 4


#: Recent results as numbers of records: the pages of one query share one result.
_results: LRUCache[tuple[str, str, str], Sequence[int]] = LRUCache(64)
_results_lock = Lock()


@cached(_results, key=lambda _listing, state, _filters, _sort, text: (*state, text), lock=_results_lock)
def numbers(listing: Listing, state: State, filters: Filters, sort: Sort, text: str) -> Sequence[int]:  # noqa: ARG001 - part of the key
    """Return the numbers of the matching records in the requested order; ``text`` identifies the query."""
    selected: Sequence[int] = _ordered(listing, state, sort) if sort else range(listing.count)
    for name, fits in filters:
        selected = array("l", _fitting(selected, listing.column(name), fits))
    return selected


def _fitting(candidates: Sequence[int], column: Sequence[Any], fits: Predicate) -> Iterable[int]:
    """Return those of the numbers whose value matches. If they are many, all values are tested, in memory order."""
    if len(candidates) * _FEW < len(column):
        return compress(candidates, map(fits, map(column.__getitem__, candidates)))
    fitting = bytes(map(fits, column))
    return compress(candidates, map(fitting.__getitem__, candidates))


@cached(_results, key=lambda _listing, state, sort: (*state, f"sort {sort}"), lock=_results_lock)
def _ordered(listing: Listing, state: State, sort: Sort) -> Sequence[int]:  # noqa: ARG001 - part of the key
    """Return the numbers of all records in order; null comes last."""
    order: Sequence[int] = range(listing.count)
    for name, descending in reversed(sort):
        column = listing.column(name)
        present = sorted((n for n in order if column[n] is not None), key=column.__getitem__, reverse=descending)
        order = present + [number for number in order if column[number] is None]
    return array("l", order)
