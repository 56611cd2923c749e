"""Locks by their host, however a client writes it."""

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
