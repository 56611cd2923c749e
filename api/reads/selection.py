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
    found: Sequence[int] = _ordered(listing, state, sort) if sort else range(listing.count)
    for name, fits in filters:
        found = array("l", _fitting(found, listing.column(name), fits))
    return found


def _fitting(found: Sequence[int], column: Sequence[Any], fits: Predicate) -> Iterable[int]:
    """Of the numbers those whose value fits. Where they are many, all values are looked at, in the order of memory."""
    if len(found) * _FEW < len(column):
        return compress(found, map(fits, map(column.__getitem__, found)))
    fitting = bytes(map(fits, column))
    return compress(found, map(fitting.__getitem__, found))


@cached(_results, key=lambda _listing, state, sort: (*state, f"sort {sort}"), lock=_results_lock)
def _ordered(listing: Listing, state: State, sort: Sort) -> Sequence[int]:  # noqa: ARG001 - part of the key
    """The numbers of all records; what is null comes last."""
    found: Sequence[int] = range(listing.count)
    for name, descending in reversed(sort):
        column = listing.column(name)
        known = sorted((n for n in found if column[n] is not None), key=column.__getitem__, reverse=descending)
        found = known + [number for number in found if column[number] is None]
    return array("l", found)
