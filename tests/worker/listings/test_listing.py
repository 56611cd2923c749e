"""Listings against a dictionary, and their bytes against the standard library."""

from __future__ import annotations

import gzip
import os
import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.listings.crc32_combine import combine
from worker.listings.listing import Change, Listing

NAMES = st.text("abcdeABCDE_-.0123456789\N{SNOWMAN}é", min_size=1, max_size=4)
CHANGES = st.lists(st.tuples(NAMES, st.none() | st.integers(0, 2**63 - 1)), max_size=60)


def records(names):
    return [{"name": name, "size": number} for number, name in enumerate(names)]


def changed(listing, changes):
    steps = [
        Change(name, None if size is None else orjson.dumps({"name": name, "size": size})) for name, size in changes
    ]
    return listing.with_changes(steps)


def check_forms(listing, expected):
    """All forms of a listing say the same, also after a way through Redis."""
    again = Listing.unpack(listing.pack())
    for copy in (listing, again):
        assert copy.records == expected
        assert orjson.loads(copy.body) == expected
        assert copy.gzip == listing.gzip
        assert gzip.decompress(copy.gzip) == copy.body
        assert (copy.count, copy.size_bytes) == (len(expected), len(copy.body))
        assert copy.hash == listing.hash
    return again


@given(st.lists(NAMES, unique=True, max_size=600), CHANGES)
def test_an_ordered_listing_is_a_sorted_dictionary(names, changes):
    model = {record["name"]: record for record in records(names)}
    listing = changed(Listing.of("name", list(model.values()), ordered=True), changes)
    for name, size in changes:
        if size is None:
            model.pop(name, None)
        else:
            model[name] = {"name": name, "size": size}
    expected = [model[name] for name in sorted(model)]
    again = check_forms(listing, expected)
    for name in [*names[:20], *(name for name, _ in changes), "missing"]:
        assert again.find(name) == model.get(name)
    assert again.rows(0, 10**6) == expected
    assert again.rows(3, 5) == expected[3:8]


@given(st.lists(NAMES, unique=True, max_size=300), CHANGES)
def test_an_unordered_listing_keeps_its_order_and_appends(names, changes):
    model = {record["name"]: record for record in records(names)}
    listing = changed(Listing.of("name", list(model.values()), ordered=False), changes)
    for name, size in changes:
        if size is None:
            model.pop(name, None)
        else:
            model[name] = {"name": name, "size": size}
    check_forms(listing, list(model.values()))


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 5000])
def test_listings_of_every_size(count):
    listing = Listing.of("name", records(f"v{number:05}" for number in range(count)), ordered=True)
    again = check_forms(listing, records(f"v{number:05}" for number in range(count)))
    for start in (0, 1, 250, 256, 511, count):
        assert again.rows(start, 300) == listing.records[start : start + 300]


def test_many_insertions_in_one_place_split_the_chunk():
    listing = Listing.of("name", [], ordered=True)
    listing = changed(listing, [(f"v{number:04}", number) for number in range(2000)])
    assert len(listing._chunks) > 3
    check_forms(listing, [{"name": f"v{number:04}", "size": number} for number in range(2000)])


def test_unchanged_chunks_are_shared_and_not_unpacked():
    packed = Listing.of("name", records(f"v{number:05}" for number in range(5000)), ordered=True).pack()
    base = Listing.unpack(packed)
    # Also the first record of each chunk is found.
    assert [base.find(f"v{number:05}") for number in (0, 256, 4864)] == [
        {"name": f"v{number:05}", "size": number} for number in (0, 256, 4864)
    ]
    base = Listing.unpack(packed)
    after = changed(base, [("v00003", 1)])
    assert sum(new is old for new, old in zip(after._chunks, base._chunks, strict=True)) == 19
    _ = after.gzip
    assert sum("records" in chunk.__dict__ for chunk in after._chunks) <= 6
    refreshed = Listing.unpack(packed, like=after)
    assert sum(new is old for new, old in zip(refreshed._chunks, after._chunks, strict=True)) == 19
    unread = Listing.unpack(packed)
    assert unread.__dict__["hash"] == base.hash
    assert len(unread.rows(256, 256)) == 256
    assert sum("records" in chunk.__dict__ for chunk in unread._chunks) == 1


@pytest.mark.parametrize("ordered", [True, False])
def test_changes_reach_each_chunk(ordered: bool):
    names = [f"v{number * 7 % 1000:04}" for number in range(1000)]
    model = {record["name"]: record for record in records(sorted(names) if ordered else names)}
    listing = Listing.of("name", list(model.values()), ordered=ordered)
    for name in ("v0001", "v0400", "v0993"):
        model[name] = {"name": name, "size": 1}
        del model[f"{name[:-1]}5"]
        model[f"{name}x"] = {"name": f"{name}x", "size": 2}
        listing = changed(listing, [(name, 1), (f"{name[:-1]}5", None), (f"{name}x", 2)])
    expected = [model[name] for name in sorted(model)] if ordered else list(model.values())
    check_forms(listing, expected)
    assert [listing.find(name) for name in model] == list(model.values())


def test_equal_contents_have_equal_names():
    one = Listing.of("name", records("abc"), ordered=True)
    other = changed(Listing.of("name", records("ab"), ordered=True), [("c", 2)])
    assert one.hash == other.hash
    assert one.hash != changed(one, [("c", 3)]).hash
    assert len(one.hash) == 20


def test_a_column_has_the_values_of_its_field_and_none_where_it_is_missing():
    rows = [
        {"name": "a", "on": True, "size": 2**63 - 1, "most": 2**63, "text": "x"},
        {"name": "b", "on": False, "size": 1, "most": 1},
    ]
    listing = Listing.of("name", rows, ordered=True)
    columns = {name: list(listing.column(name)) for name in ("on", "size", "most", "text")}
    assert columns == {"on": [True, False], "size": [2**63 - 1, 1], "most": [2**63, 1], "text": ["x", None]}
    assert type(columns["on"][0]) is bool


def test_a_path_is_found_whatever_its_case():
    listing = Listing.of("name", [{"name": "a", "path": "/A/b"}, {"name": "b", "path": None}], ordered=True)
    assert listing.find_casefolded("path", "/a/B") == {"name": "a", "path": "/A/b"}
    assert listing.find_casefolded("path", "None") is None


@given(st.binary(max_size=50), st.integers(0, 100_000))
def test_checksums_of_parts_make_that_of_the_whole(first, size):
    second = os.urandom(size)
    assert combine(zlib.crc32(first), zlib.crc32(second), size) == zlib.crc32(first + second)
