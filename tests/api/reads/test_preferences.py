"""What a request says of the way it wants to be answered."""

from __future__ import annotations

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from api.http.preferences import RequestCacheControl, freshness, preferences, takes_gzip


def request(*headers):
    return EnvironBuilder(headers=list(headers)).get_request(Request)


@pytest.mark.parametrize(
    ("headers", "wait_s", "respond_async"),
    [
        ([], None, False),
        (["wait=5"], 5, False),
        (["Wait=5"], 5, False),
        (["wait=100"], 25, False),
        (["respond-async, wait=3"], 3, True),
        (["respond-async; wait=3"], 3, True),
        (["respond-async", "wait=3"], 3, True),
        (["wait=3, wait=9"], 3, False),
        (['wait="4"'], 4, False),
        (["wait=-1"], None, False),
        (["wait=x, wait="], None, False),
        (["handling=strict"], None, False),
    ],
)
def test_prefer(headers, wait_s, respond_async):
    preference = preferences(request(*(("Prefer", value) for value in headers)), 25)
    assert (preference.wait_s, preference.respond_async) == (wait_s, respond_async)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("no-cache", RequestCacheControl(no_cache=True)),
        ("NO-CACHE", RequestCacheControl(no_cache=True)),
        ("max-age=5, only-if-cached", RequestCacheControl(max_age_s=5, only_if_cached=True)),
        ('max-age="5"', RequestCacheControl(max_age_s=5)),
        ("max-age=-5", RequestCacheControl(max_age_s=0)),
        ("max-stale", RequestCacheControl(max_stale_s=2**31)),
        ("max-stale=7", RequestCacheControl(max_stale_s=7)),
        ("max-age=99999999999999999999", RequestCacheControl(max_age_s=2**31)),
        ("min-fresh=3", RequestCacheControl(min_fresh_s=3)),
        ("something-else", RequestCacheControl()),
    ],
)
def test_cache_control(value, expected):
    assert freshness(request(("Cache-Control", value))) == expected


@pytest.mark.parametrize(
    ("accepted", "is_taken"),
    [
        ("gzip", True),
        ("x-gzip", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0.4, identity;q=0.6", False),
        ("gzip, identity", True),
        ("gzip;q=0.2, *;q=0.5", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("x-gzip;q=0, *", False),
        ("identity", False),
        ("br", False),
        ("", False),
    ],
)
def test_compression(accepted, is_taken):
    assert takes_gzip(request(("Accept-Encoding", accepted))) == is_taken


@pytest.mark.parametrize(
    ("sent", "longest_s"),
    [
        ("", 70),
        ("max-age=10", 10),
        ("max-age=50", 50),
        ("max-age=90", 70),
        ("max-stale=5", 35),
        ("max-stale=60", 90),
        # Beyond that nothing is served, although a change may have kept the listing in Redis.
        ("max-stale", 100),
        ("max-stale=90", 100),
        ("max-age=10, max-stale=5", 15),
        ("min-fresh=5", 25),
        ("max-age=10, min-fresh=5", 5),
        ("min-fresh=5, max-stale", 25),
        ("no-cache", None),
        ("no-cache, max-stale", None),
    ],
)
def test_the_age_limit_of_a_cached_copy(sent, longest_s):
    wanted = freshness(request(("Cache-Control", sent)))

    def accepts(age_s):
        return wanted.accepts(age_s, fresh_s=30, stale_s=40, keep_s=100)

    if longest_s is None:
        assert not accepts(0)
    else:
        assert (accepts(longest_s), accepts(longest_s + 0.1)) == (True, False)
