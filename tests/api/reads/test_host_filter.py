"""Locks by their host, and export policies by their rules, however a client writes them."""

from __future__ import annotations

import pytest

from api.reads.collection_query import _filter


@pytest.mark.parametrize("text", ["2001:DB8:0::1", "dbHost|2001:db8::0001", "::1|2001:db8::1", '"2001:DB8::0001"'])
def test_a_host_is_found_in_every_spelling(text):
    assert _filter("host", text, str)("2001:db8::1")


def test_a_host_is_left_out_in_every_spelling():
    assert not _filter("host", "!2001:DB8:0::1", str)("2001:db8::1")
    assert _filter("host", "!2001:DB8:0::1", str)("2001:db8::2")


def test_other_fields_keep_their_case():
    assert not _filter("name", "Vol", str)("vol")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("2001:DB8:0::1", "2001:db8::1"), ("10.0.0.5/255.255.255.0", "10.0.0.0/24"),
        ('"DB01.Example.org"', "db01.example.org"),
        ("*.Example.ORG", "*.example.org"), ("nobody|@Group", "@Group"), ("@Gr*", "@Group"), ("*Group", "@Group"),
    ],
)  # fmt: skip
def test_a_rule_is_found_in_every_spelling(text, rule):
    assert _filter("rules", text, tuple)(("another", rule))
    assert not _filter("rules", f"!{text}", tuple)(("another", rule))


def test_a_netgroup_keeps_its_case():
    assert not _filter("rules", "@group", tuple)(("@Group",))
