"""A reply that comes too late must never answer another command."""

from __future__ import annotations

import orjson
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from worker.store.blocking_pop import blocking_pop
from worker.store.client import ReplyLost
from worker.store.scripts import JobScripts

PAUSE_MS, PATIENCE_S = 450, 0.3


class OneMaster:
    """Sentinels that always name the same master."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)

    def discover_master(self, _name: str) -> tuple[str, int]:
        return self.address


@pytest.fixture
def client(redis_client):
    """A client as there is one with sentinels: its connections do not close by themselves when a reply is late."""
    options = redis_client.connection_pool.connection_kwargs
    sentinels = OneMaster(options["host"], options["port"])
    pool = SentinelConnectionPool(
        "master", sentinels, password=options["password"], socket_timeout=PATIENCE_S, retry=Retry(NoBackoff(), 0),
        max_connections=1, protocol=2,
    )  # fmt: skip
    with redis.Redis(connection_pool=pool) as client:
        yield client


def test_a_late_reply_of_a_script_is_not_read_by_the_next_command(client, redis_client):
    scripts = JobScripts(client, "late:")
    client.set("mine", "yes")
    redis_client.client_pause(PAUSE_MS)
    with pytest.raises(ReplyLost):
        scripts.get_job("unknown", 1, 1)
    # Redis is still paused: the next command is sent before the late reply arrives.
    assert client.get("mine") == b"yes"


def test_a_job_that_was_claimed_for_a_slot_is_waited_for(client, redis_client):
    """A connection that is closed after Redis has popped the record loses it; the job would wait for its lease."""
    client.rpush("late:handed:token", orjson.dumps(["id", "1"]))
    redis_client.client_pause(1200)
    assert JobScripts(client, "late:").take_handed("token", 0.1) == [b"id", b"1"]


def test_an_entry_is_waited_for_longer_than_for_an_answer(client):
    assert blocking_pop(client, "entries", PATIENCE_S + 0.1) is None
    client.rpush("entries", "one")
    assert blocking_pop(client, "entries", PATIENCE_S + 0.1) == b"one"


def test_a_late_entry_is_not_read_by_the_next_command(client, redis_client):
    client.set("mine", "yes")
    redis_client.client_pause(1200)
    with pytest.raises(redis.TimeoutError):
        blocking_pop(client, "entries", 0.1)
    redis_client.ping()
    assert client.get("mine") == b"yes"
