"""Redis, front end and workers on hosts of their own, which are disconnected and connected again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.deployment import Deployment, eventually, safe, state, workers_online
from tests.hosts.network import Network, why_impossible
from tests.launcher import end

_WHY_NOT = why_impossible()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(_WHY_NOT is not None, reason=_WHY_NOT or ""),
]
_LATENCY_S = 8.0


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture
def spread(tmp_path: Path, network: Network) -> Iterator[Deployment]:
    """A service whose changes take a while, with nothing started yet."""
    made = Deployment(tmp_path, latency_s=_LATENCY_S)
    yield made
    made.stop()


def test_a_disconnected_host_loses_nothing_and_overwrites_nothing(spread: Deployment, network: Network):
    redis, front = network.host("redis"), network.host("front")
    spread.env["SAPI_REDIS_URL"] = f"redis://:{spread.redis_password}@{redis.address}:6379/0"
    spread.redis("redis", 6379, *safe(spread.redis_password), host=redis)
    client = spread.api("api", 8000, front)

    # The worker that has the job is cut off in the middle of it; the other finds out what became of it.
    hosts = {"first": network.host("first"), "second": network.host("second")}
    workers = {name: spread.worker(name, host) for name, host in hosts.items()}
    eventually(lambda: workers_online(client) == 2, "both workers are online")
    job_id = client.submit("POST", "/v4/filer/volumes/one", {})["id"]
    lost = eventually(lambda: next((name for name in hosts if job_id in spread.log(name)), ""), "a worker has the job")
    hosts[lost].cut()
    settled = client.ended(job_id)
    assert (settled["state"], settled["error"]["code"]) == ("failed", "worker-lost")

    # It comes back, finds that the job is another's, and takes the next one.
    hosts[lost].heal()
    (other,) = set(hosts) - {lost}
    end(workers[other])
    assert client.change("POST", "/v4/filer/volumes/two", {}).status_code == 201
    now = state(client, job_id)
    assert now | {"queue": None} == settled | {"queue": None}
    assert client.get("/v4/filer/volumes/one", headers={"Prefer": "wait=25"}).status_code == 404
    assert job_id not in spread.sent()

    # Redis is disconnected from all hosts: that is reported at once, and recovers by itself.
    waiting = [client.submit("POST", f"/v4/filer/volumes/wait{n}", {})["id"] for n in range(12)]
    redis.cut()
    away = client.post("/v4/filer/volumes/away", json={}, timeout=10)
    assert (away.status_code, away.json()["code"]) == (503, "queue-unavailable")
    assert "Retry-After" in away.headers
    assert client.get("/healthz").status_code == 200
    eventually(lambda: spread.log(lost).count("maintenance.failed") > 2, "the worker has noticed, too")
    redis.heal()
    eventually(lambda: client.get("/readyz").status_code == 200, "it is ready again")
    again = client.submit("POST", "/v4/filer/volumes/again", {})["id"]
    ended = [client.ended(job_id)["state"] for job_id in [*waiting, again]]
    assert set(ended) <= {"succeeded", "failed"}
    assert ended[-1] == "succeeded"
    assert max(spread.sent().values()) == 1
