"""While Redis answers and takes no writes, everything that tells how the service is says so, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from tests.api.front_end import problem
from tests.redis_states import STATES
from worker.store import write_probe

#: What Redis says in each state.
WORDS = {"too few replicas": "NOREPLICAS", "read only": "READONLY", "memory full": "OOM"}


@pytest.fixture(autouse=True)
def ask_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_probe, "_ASK_EVERY_S", 0.0)


@pytest.mark.parametrize("state", WORDS)
def test_every_problem_quotes_the_error_of_redis(front_end, client, redis_client: Redis, tmp_path: Path, state: str):
    words = WORDS[state]
    assert client.get("/readyz").status_code == 200
    with STATES[state](redis_client, tmp_path):
        ready = problem(client.get("/readyz"), 503, "queue-unavailable")
        change = problem(client.post("/v4/filer/volumes/a"), 503, "queue-unavailable")
        metrics = client.get("/metrics").text
        status = client.get("/console/")
    assert ready["redis"] == "refuses-writes"
    assert words in ready["detail"]
    assert change["detail"].startswith("Jobs cannot be recorded now.")
    assert words in change["detail"]
    assert "Nothing was accepted" in change["detail"]
    assert "sapi_redis_up 1.0" in metrics
    assert "sapi_redis_writable 0.0" in metrics
    assert status.status_code == 200
    assert words in status.text
    assert client.get("/readyz").status_code == 200
    assert "sapi_redis_writable 1.0" in client.get("/metrics").text


def test_a_missing_permission_in_redis_is_reported(client, redis_client: Redis):
    # Requests are counted, and the counts are added to Redis before they are read.
    assert client.get("/conf/roles").status_code == 200
    redis_client.execute_command("ACL", "SETUSER", "default", "-@write")
    try:
        ready = problem(client.get("/readyz"), 503, "queue-unavailable")
        metrics = client.get("/metrics")
    finally:
        redis_client.execute_command("ACL", "SETUSER", "default", "+@all")
    assert "NOPERM" in ready["detail"]
    assert (metrics.status_code, "sapi_redis_writable 0.0" in metrics.text) == (200, True)


def test_redis_is_probed_once_a_second_at_most(front_end, redis_client: Redis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(write_probe, "_ASK_EVERY_S", 60.0)
    front_end.stranger().get("/readyz")
    redis_client.delete("sapi:write_probe")
    front_end.stranger().get("/readyz")
    assert not redis_client.exists("sapi:write_probe")
