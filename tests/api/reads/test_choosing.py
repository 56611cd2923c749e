"""Choosing and ordering by columns finds what looking at one record after the other finds."""

from __future__ import annotations

import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.reads.filter_expressions import compile_expression
from api.reads.selection import numbers
from worker.listings.listing import Listing

#: What does not fit into 64 bits with a sign, and null, cannot lie side by side with the others.
SIZES = st.sampled_from([*range(6), 2**63 - 1, 2**63, -(2**63), None])
RECORDS = st.lists(st.fixed_dictionaries({"size": SIZES, "used": st.integers(0, 5), "state": st.sampled_from("ab")}))
FILTERS = st.lists(
    st.sampled_from(
        [("size", ">2", int), ("size", "!null", int), ("used", "<4", int), ("used", "3", int), ("state", "a", str)]
    ),
    max_size=3,
)
SORT = st.lists(
    st.tuples(st.sampled_from(["size", "used", "state"]), st.booleans()), max_size=2, unique_by=lambda s: s[0]
)


def filtered_by_record(records: list[dict[str, Any]], filters: list[Any], sort: list[tuple[str, bool]]) -> list[int]:
    order = list(range(len(records)))
    for name, descending in reversed(sort):
        present = [n for n in order if records[n][name] is not None]
        nulls = [n for n in order if records[n][name] is None]
        order = sorted(present, key=lambda n: records[n][name], reverse=descending) + nulls
    return [n for n in order if all(compile_expression(text, kind)(records[n][name]) for name, text, kind in filters)]


@given(records=RECORDS, filters=FILTERS, sort=SORT)
def test_filters_by_column_select_the_same_rows_as_filters_by_record(records, filters, sort):
    records = [{"name": f"{number:03}", **record} for number, record in enumerate(records)]
    listing = Listing.of("name", records, ordered=True)
    compiled = [(name, compile_expression(text, kind)) for name, text, kind in filters]

    selected = numbers(listing, ("thing", uuid.uuid4().hex), compiled, sort, "query")

    assert list(selected) == filtered_by_record(records, filters, sort)
    assert list(selected[:2]) == filtered_by_record(records, filters, sort)[:2]
