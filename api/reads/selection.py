"""Chooses and orders the records of a listing; what many requests need is worked out once for each of its states."""

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
#: Fields, and whether each falls.
Sort = Sequence[tuple[str, bool]]
#: A listing, and which state of it.
State = tuple[str, str]
#: Less than one in so many are few.
_FEW = 4


#: What lately asked queries found, as numbers of records: pages of one query are cut from one result.
_results: LRUCache[tuple[str, str, str], Sequence[int]] = LRUCache(64)
_results_lock = Lock()


@cached(_results, key=lambda _listing, state, _filters, _sort, text: (*state, text), lock=_results_lock)
def numbers(listing: Listing, state: State, filters: Filters, sort: Sort, text: str) -> Sequence[int]:  # noqa: ARG001 - part of the key
    """The numbers of the records that fit, in the order that is asked for; ``text`` names the query."""
    selected: Sequence[int] = _ordered(listing, state, sort) if sort else range(listing.count)
    for name, fits in filters:
        selected = array("l", _fitting(selected, listing.column(name), fits))
    return selected


def _fitting(candidates: Sequence[int], column: Sequence[Any], fits: Predicate) -> Iterable[int]:
    """Of the numbers those whose value fits. Where they are many, all values are looked at, in the order of memory."""
    if len(candidates) * _FEW < len(column):
        return compress(candidates, map(fits, map(column.__getitem__, candidates)))
    fitting = bytes(map(fits, column))
    return compress(candidates, map(fitting.__getitem__, candidates))


@cached(_results, key=lambda _listing, state, sort: (*state, f"sort {sort}"), lock=_results_lock)
def _ordered(listing: Listing, state: State, sort: Sort) -> Sequence[int]:  # noqa: ARG001 - part of the key
    """The numbers of all records; what is null comes last."""
    order: Sequence[int] = range(listing.count)
    for name, descending in reversed(sort):
        column = listing.column(name)
        present = sorted((n for n in order if column[n] is not None), key=column.__getitem__, reverse=descending)
        order = present + [number for number in order if column[number] is None]
    return array("l", order)
