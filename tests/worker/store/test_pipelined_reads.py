"""Small reads over connections that are kept."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
import redis
from redis import Redis

from worker.config.settings import Settings, load
from worker.store import pipelined_reads
from worker.store.client import connect
from worker.store.pipelined_reads import PipelinedReads


def test_a_read_is_repeated_on_a_new_connection_when_the_idle_one_was_closed(redis_client: Redis, redis_url: str):
    reads = PipelinedReads(connect(load(Settings, redis_url=redis_url), connections=3))
    packed = reads.pack([("GET", "sapi:x"), ("EXISTS", "sapi:x")])
    assert reads.read(packed) == (None, 0)
    # Several are idle, as after reads at the same time.
    idle = [reads._take(), reads._take(), reads._take()]
    for connection in idle:
        reads._keep(connection)
    redis_client.client_kill_filter(_type="normal", skipme=True)
    assert reads.read(packed) == (None, 0)
    assert sum(connection.is_connected for connection in idle) == 1
    # All of them are free again.
    assert {reads._take() for _ in idle} == set(idle)


def test_without_redis_it_raises_what_the_library_raises():
    reads = PipelinedReads(connect(load(Settings, redis_url="redis://127.0.0.1:1/0")))
    with pytest.raises(redis.ConnectionError):
        reads.pack([("GET", "sapi:x")])


def test_replies_after_an_error_belong_to_no_other_read(redis_client: Redis, redis_url: str):
    redis_client.set("sapi:x", "text")
    client = connect(load(Settings, redis_url=redis_url), connections=1)
    reads = PipelinedReads(client)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        reads.read(reads.pack([("HGETALL", "sapi:x"), ("GET", "sapi:x")]))
    (connection,) = client.connection_pool._available_connections
    assert not connection.is_connected


def test_reads_that_are_refused_use_up_no_connections(redis_client: Redis, redis_url: str):
    redis_client.set("sapi:x", "text")
    reads = PipelinedReads(connect(load(Settings, redis_url=redis_url), connections=2))
    for _ in range(3):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            reads.read(reads.pack([("HGETALL", "sapi:x")]))
    assert reads.read(reads.pack([("GET", "sapi:x")])) == (b"text",)


def test_only_a_read_over_an_idle_connection_is_repeated(redis_url: str, monkeypatch: pytest.MonkeyPatch):
    reads = PipelinedReads(connect(load(Settings, redis_url=redis_url)))
    packed = reads.pack([("GET", "sapi:x")])
    monkeypatch.setattr(reads, "_exchange", exchange := Mock(side_effect=redis.ConnectionError("cut")))
    for attempts in (2, 3):
        with pytest.raises(redis.ConnectionError, match="cut"):
            reads.read(packed)
        assert exchange.call_count == attempts


def test_idle_connections_beyond_the_limit_go_back_to_the_pool(redis_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipelined_reads, "_MAX_IDLE", 1)
    reads = PipelinedReads(connect(load(Settings, redis_url=redis_url), connections=2))
    for _ in range(2):
        for connection in [reads._take(), reads._take()]:
            reads._keep(connection)
    assert len(reads._idle) == 1
