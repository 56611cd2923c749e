"""What Redis refuses because of its state counts as an unavailable Redis, whichever way the command was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.redis_states import too_few_replicas
from tests.worker.harness import PREFIX
from worker.backends.login_guard import SharedLoginGuard
from worker.config.settings import Settings, load
from worker.jobs.repeated_requests import HeldRequests
from worker.store.borrowed_connection import borrowed_connection
from worker.store.client import REDIS_UNAVAILABLE, WriteRefused, connect
from worker.store.metrics import CounterBuffer
from worker.store.pipelined_reads import PipelinedReads
from worker.store.scripts import JobScripts


@pytest.fixture
def client(redis_url: str, redis_client: redis.Redis) -> Iterator[redis.Redis]:
    made = connect(load(Settings, redis_url=redis_url))
    yield made
    made.close()


def _in_pipeline(client: redis.Redis, script: str) -> Any:
    return client.pipeline(transaction=False).eval(script, 0).execute()


def _over_kept_connection(client: redis.Redis, script: str) -> Any:
    reads = PipelinedReads(client)
    return reads.read(reads.pack([("EVAL", script, "0")]))


def _over_borrowed_connection(client: redis.Redis, script: str) -> Any:
    with borrowed_connection(client.connection_pool) as connection:
        connection.send_command("EVAL", script, 0)
        return connection.read_response()


_WAYS: dict[str, Callable[[redis.Redis, str], Any]] = {
    "command": lambda client, script: client.eval(script, 0),
    "pipeline": _in_pipeline,
    "kept connection": _over_kept_connection,
    "borrowed connection": _over_borrowed_connection,
}


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize(
    "code", ["MISCONF", "NOREPLICAS", "BUSY", "UNBLOCKED", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"]
)
def test_a_refusal_for_now_is_known_by_its_code(client: redis.Redis, code: str, way: str):
    with pytest.raises(WriteRefused, match=f"^{code} just now$"):
        _WAYS[way](client, f"return redis.error_reply('{code} just now')")
    assert _WAYS[way](client, "return 7") in (7, [7], (7,))


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("code", ["ERR", "BUSYGROUP", "WRONGTYPE"])
def test_any_other_error_is_none(client: redis.Redis, code: str, way: str):
    with pytest.raises(redis.ResponseError, match="mistake"):
        _WAYS[way](client, f"return redis.error_reply('{code} mistake')")


def test_pipelines_work_again_when_redis_accepts_writes(client: redis.Redis, redis_client: redis.Redis):
    counters = CounterBuffer(client, PREFIX)
    counters.count("filer one ok")
    guard = SharedLoginGuard(client, PREFIX)
    held = HeldRequests(client, JobScripts(client, PREFIX), PREFIX)
    held._held.add("job")
    with too_few_replicas(redis_client, Path()):
        assert not counters.flush()
        guard.share_refusal("account", "0000", 60)
        guard.share_acceptance("account", "0000")
        # Its thread waits for Redis, and does not end.
        with pytest.raises(REDIS_UNAVAILABLE):
            held._renew()
    assert counters.flush()
    assert redis_client.hgetall(f"{PREFIX}metrics") == {b"filer one ok": b"1"}
