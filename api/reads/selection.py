"""Chooses and orders the records of a listing; what many requests need is worked out once for each of its states."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from threading import Lock
from typing import Any

from api.reads.filter_expressions import Predicate
from worker.listings.listing import Listing

Filters = Sequence[tuple[str, Predicate]]
#: Fields, and whether each falls.
Sort = Sequence[tuple[str, bool]]
#: A listing, and which state of it.
State = tuple[str, str]
#: Less than one in so many are few.
_FEW = 4


class _Results:
    """What lately asked queries found, as numbers of records: pages of one query are cut from one result."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[str, str, str], Sequence[int]] = OrderedDict()
        self._lock = Lock()

    def get(self, name: tuple[str, str, str], make: Callable[[], Sequence[int]]) -> Sequence[int]:
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        found = make()
        with self._lock:
            self._kept[name] = found
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found


_results = _Results()


def numbers(listing: Listing, state: State, filters: Filters, sort: Sort, text: str) -> Sequence[int]:
    """The numbers of the records that fit, in the order that is asked for; ``text`` names the query."""
    return _results.get((*state, text), lambda: _selected(listing, state, filters, sort))


def _selected(listing: Listing, state: State, filters: Filters, sort: Sort) -> Sequence[int]:
    found: Sequence[int] = range(listing.count)
    if sort:
        found = _results.get((*state, f"sort {sort}"), lambda: _ordered(listing, sort))
    for name, fits in filters:
        found = array("l", _fitting(found, listing.column(name), fits))
    return found


def _fitting(found: Sequence[int], column: Sequence[Any], fits: Predicate) -> Iterable[int]:
    """Of the numbers those whose value fits. Where they are many, all values are looked at, in the order of memory."""
    if len(found) * _FEW < len(column):
        return compress(found, map(fits, map(column.__getitem__, found)))
    fitting = bytes(map(fits, column))
    return compress(found, map(fitting.__getitem__, found))


def _ordered(listing: Listing, sort: Sort) -> Sequence[int]:
    """The numbers of all records; what is null comes last."""
    found: Sequence[int] = range(listing.count)
    for name, descending in reversed(sort):
        column = listing.column(name)
        known = sorted((n for n in found if column[n] is not None), key=column.__getitem__, reverse=descending)
        found = known + [number for number in found if column[number] is None]
    return array("l", found)
