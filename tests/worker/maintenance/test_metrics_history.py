"""The history of the counters: one entry for each interval, whichever worker comes first, for a day."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from worker.config.settings import Settings, load
from worker.maintenance.metrics_history import MAX_ENTRIES, MetricsHistory
from worker.store.client import REDIS_UNAVAILABLE, connect
from worker.store.metrics import BreakerReport, CounterBuffer, totals


def test_counters_are_added_up_by_state():
    counters = {
        "ended a create_volume succeeded": 3, "ended b list_volumes succeeded": 2, "ended a create_volume failed": 1,
        "run a create_volume sum": 2_500_000, "run a create_volume 100": 7, "http GET /x 2xx": 9,
        # Times of other kinds, and a state of a later version.
        "wait a create_volume sum": 1_000_000, "ended a create_volume lost": 1, "ended a create_volume": 1,
        "begun a create_volume failed": 1,
    }  # fmt: skip
    assert totals(counters) == {"succeeded": 5, "failed": 1, "cancelled": 0, "run_s": 2.5}


def test_a_time_counts_in_the_first_bucket_that_holds_it(redis_client: Redis):
    counters = CounterBuffer(redis_client, "sapi:")
    for seconds in (0.0, 0.005, 0.0051, 0.025, 9.0, 9.001):
        counters.observe("http", seconds, (5, 25, 9000))
    assert counters.flush()
    counted: Any = redis_client.hgetall("sapi:metrics")
    assert {name.decode(): int(count) for name, count in counted.items()} == {
        "http 5": 2, "http 25": 2, "http 9000": 1, "http inf": 1, "http sum": 18_036_100,
    }  # fmt: skip


def test_counts_made_during_a_failed_flush_are_not_lost(redis_client: Redis, monkeypatch: pytest.MonkeyPatch):
    counters = CounterBuffer(redis_client, "sapi:")
    counters.count("a")

    def refused(_counts: object) -> bool:
        counters.count("a", "b")
        return False

    with monkeypatch.context() as away:
        away.setattr(counters, "_add", refused)
        assert not counters.flush()
    assert counters.flush()
    assert redis_client.hgetall("sapi:metrics") == {b"a": b"2", b"b": b"1"}


def test_one_entry_is_written_for_each_interval(redis_client: Redis):
    redis_client.hset("sapi:metrics", "ended a create_volume succeeded", 3)
    for history in (MetricsHistory(redis_client, "sapi:"), MetricsHistory(redis_client, "sapi:")):
        history()
    entries: Any = redis_client.lrange("sapi:metrics_history", 0, -1)
    assert [json.loads(entry)["succeeded"] for entry in entries] == [3]
    assert 890 < redis_client.ttl("sapi:metrics_history_due") <= 900
    # The newest one comes first.
    redis_client.delete("sapi:metrics_history_due")
    redis_client.hincrby("sapi:metrics", "ended a create_volume succeeded", 1)
    MetricsHistory(redis_client, "sapi:")()
    entries = [json.loads(entry) for entry in redis_client.lrange("sapi:metrics_history", 0, -1)]
    assert [entry["succeeded"] for entry in entries] == [4, 3]
    assert abs(entries[0]["at"] - redis_client.time()[0]) <= 2


def test_intervals_of_a_day_are_stored(redis_client: Redis):
    assert MAX_ENTRIES == 24 * 4 + 1
    redis_client.rpush("sapi:metrics_history", *["{}"] * (MAX_ENTRIES + 20))
    MetricsHistory(redis_client, "sapi:")()
    assert redis_client.llen("sapi:metrics_history") == MAX_ENTRIES


def test_the_state_of_a_circuit_breaker_is_reported_at_once_and_renewed_before_it_expires(redis_client: Redis):
    gateway: Any = SimpleNamespace(breaker_state="closed")
    report, key = BreakerReport(redis_client, "sapi:", "node", {"filer": gateway}), "sapi:breaker:filer:node"
    reported_in: list[int] = []
    for turn in range(1, 12):
        redis_client.expire(key, 1)
        report()
        reported_in += [turn] if redis_client.ttl(key) > 1 else []
    assert reported_in == [1, 5, 10]
    gateway.breaker_state = "open"
    report()
    assert redis_client.get(key) == b"open"


def test_a_state_that_could_not_be_reported_is_reported_in_the_next_turn(redis_client: Redis):
    away = connect(load(Settings, redis_url="redis://127.0.0.1:1/0"))
    report = BreakerReport(away, "sapi:", "node", {"filer": SimpleNamespace(breaker_state="open")})
    with pytest.raises(REDIS_UNAVAILABLE):
        report()
    report._redis = redis_client
    report()
    assert redis_client.get("sapi:breaker:filer:node") == b"open"
