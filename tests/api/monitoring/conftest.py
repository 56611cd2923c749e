"""A service that has something to count."""

from __future__ import annotations

import pytest

from tests.api.front_end import accepted
from tests.api.monitoring.metric_values import filer_figures
from worker.store.metrics import BreakerReport, CounterBuffer


@pytest.fixture
def busy(front_end, client, worker, redis_client):
    """A service in which everything has happened once."""
    worker.carry_out(accepted(client.post("/v4/filer/volumes/a")))
    worker.carry_out(accepted(client.post("/v4/filer/volumes/a")))
    worker.carry_out(accepted(client.get("/v4/filer/volumes", headers={"Prefer": "respond-async"})))
    assert client.get("/v4/filer/volumes").status_code == 200
    accepted(client.post("/v4/filer/volumes/b"))
    front_end.services.scripts.worker_heartbeat("one@here", {"filer.write": 8})
    redis_client.set("sapi:health:filer", '{"status": "available"}')
    counters = CounterBuffer(front_end.services.redis, "sapi:")
    counters.count("filer filer ok")
    counters.count("webhook tickets delivered")
    counters.flush()
    redis_client.sadd("sapi:webhook_targets", "tickets", "callbacks:a.example:443", "callbacks:b.example:443")
    redis_client.hset("sapi:webhook_state:tickets", mapping={"failing_since": "1000", "last_error": "it answered 500"})
    redis_client.hset("sapi:webhook_state:callbacks:a.example:443", "failing_since", "1000")
    redis_client.zadd("sapi:webhook_due:tickets", {"msg_1": 1})
    redis_client.zadd("sapi:webhook_running:tickets", {"msg_2": 1})
    for host in "ab":
        redis_client.zadd(f"sapi:webhook_due:callbacks:{host}.example:443", {"msg_1": 1})
    redis_client.set("sapi:webhook_position", "0-0-0")
    BreakerReport(front_end.services.redis, "sapi:", "one@here", {"filer": filer_figures(front_end)})()
    return client
