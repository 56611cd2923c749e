"""A worker is online for as long as it takes messages, and is replaced when it takes none any more."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest
from redis import Redis

from tests.worker.harness import PREFIX
from worker.config.settings import Settings, load
from worker.maintenance.heartbeat import Heartbeat
from worker.maintenance.silent_consumer import ONLINE_S, RESTART_AFTER_S
from worker.store.client import WriteRefused, connect
from worker.store.scripts import JobScripts
from worker.store.write_probe import WriteProbe, WriteState

WORKERS = f"{PREFIX}workers:filer.write"


class Worker:
    """A heartbeat whose consumer and clock are controlled by the test."""

    def __init__(self, url: str) -> None:
        self.silent_s = 0.0
        self.now_s = 1000.0
        self.ended = threading.Event()
        self.client = connect(load(Settings, redis_url=url))
        self.heartbeat = Heartbeat(
            JobScripts(self.client, PREFIX), "node", {"filer.write": 8},
            silent_s=lambda: self.silent_s, takes_writes=lambda: not WriteProbe(self.client, PREFIX).state().problem,
            restart=self.ended.set, now_s=lambda: self.now_s,
        )  # fmt: skip


@pytest.fixture
def worker(redis_client: Redis, redis_url: str) -> Worker:
    return Worker(redis_url)


def test_a_worker_that_takes_messages_is_online(worker: Worker, redis_client: Redis):
    assert worker.heartbeat.beat()
    assert redis_client.zrange(WORKERS, 0, -1) == [b"node"]


def test_a_worker_lost_before_the_clock_was_set_back_is_offline(worker: Worker, redis_client: Redis):
    redis_client.zadd(WORKERS, {"gone": (time.time() + 3600) * 1000})
    redis_client.hset(f"{PREFIX}slots:filer.write", "gone", 8)
    worker.heartbeat.beat()
    assert redis_client.zrange(WORKERS, 0, -1) == [b"node"]
    assert redis_client.get(f"{PREFIX}capacity:filer.write") == b"8"


def test_the_time_without_messages_is_limited() -> None:
    """A worker that is lost is noticed within a minute, and a busy one is no lost one."""
    assert (ONLINE_S, RESTART_AFTER_S) == (10, 30)


def test_a_worker_that_takes_no_messages_is_offline(worker: Worker, redis_client: Redis):
    worker.silent_s = ONLINE_S
    assert not worker.heartbeat.beat()
    assert not redis_client.exists(WORKERS)
    assert not worker.ended.is_set()


def test_a_worker_that_does_not_recover_ends(worker: Worker):
    worker.heartbeat.beat()
    worker.silent_s = RESTART_AFTER_S + 1
    worker.heartbeat.beat()
    assert not worker.ended.is_set()
    worker.now_s += RESTART_AFTER_S + 1
    worker.silent_s = ONLINE_S + 1
    worker.heartbeat.beat()
    assert not worker.ended.is_set()
    worker.silent_s = RESTART_AFTER_S + 1
    worker.heartbeat.beat()
    assert worker.ended.is_set()


def test_a_worker_that_is_silent_because_of_redis_does_not_end(worker: Worker, redis_client: Redis):
    worker.silent_s = RESTART_AFTER_S + 1
    redis_client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(WriteRefused):
            worker.heartbeat.beat()
        worker.now_s += RESTART_AFTER_S + 1
    finally:
        redis_client.config_set("min-replicas-to-write", 0)
    worker.heartbeat.beat()
    assert not worker.ended.is_set()


def test_a_worker_does_not_end_while_the_memory_of_redis_is_full(worker: Worker, redis_client: Redis):
    worker.silent_s = RESTART_AFTER_S + 1
    redis_client.config_set("maxmemory", 1)
    try:
        for _ in range(3):
            assert not worker.heartbeat.beat()
            worker.now_s += RESTART_AFTER_S + 1
    finally:
        redis_client.config_set("maxmemory", 0)
    worker.heartbeat.beat()
    assert not worker.ended.is_set()


@pytest.mark.parametrize("break_", ["it takes messages again", "Redis is away", "the memory of Redis is full"])
def test_the_time_until_a_worker_ends_restarts_after_a_message(worker: Worker, redis_client: Redis, break_: str):
    worker.silent_s = RESTART_AFTER_S + 1
    worker.heartbeat.beat()
    setting = {"Redis is away": "min-replicas-to-write", "the memory of Redis is full": "maxmemory"}.get(break_)
    if setting is None:
        worker.silent_s = 0
        worker.heartbeat.beat()
        worker.silent_s = RESTART_AFTER_S + 1
    else:
        redis_client.config_set(setting, 1)
        try:
            with suppress(WriteRefused):
                worker.heartbeat.beat()
        finally:
            redis_client.config_set(setting, 0)
    for later_s, is_over in ((RESTART_AFTER_S + 1, False), (RESTART_AFTER_S - 1, False), (2, True)):
        worker.now_s += later_s
        worker.heartbeat.beat()
        assert worker.ended.is_set() is is_over


def test_the_probe_writes_its_own_key_for_a_minute(redis_client: Redis):
    assert WriteProbe(redis_client, PREFIX).state() == WriteState(answers=True, problem="")
    assert redis_client.keys() == [f"{PREFIX}write_probe".encode()]
    assert 0 < redis_client.ttl(f"{PREFIX}write_probe") <= 60


def test_a_redis_that_cannot_be_reached_does_not_answer_the_probe():
    client = connect(load(Settings, redis_url="redis://127.0.0.1:1/0"))
    assert WriteProbe(client, PREFIX).state() == WriteState(answers=False, problem="it cannot be reached")
