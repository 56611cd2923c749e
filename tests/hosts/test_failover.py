"""Redis with a replica and sentinels: its master is killed, or frozen and continued, while clients submit."""

from __future__ import annotations

import pytest

from deploy.dev.embedded_redis import free_port
from tests.e2e.client import Client
from tests.hosts.deployment import Deployment, eventually, workers_online
from tests.hosts.load import Load
from tests.hosts.sentinels import Watched

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


def _goes_on(load: Load) -> None:
    before = load.count(202)
    eventually(lambda: load.count(202) > before, "jobs are accepted again")


def _all_done_once(client: Client, load: Load, deployment: Deployment) -> None:
    assert not load.surprises
    assert load.count(503)
    ended = [client.ended(job_id) for job_id in load.accepted]
    sent = deployment.sent()
    # A failover that lasts longer than a lease costs the changes that were about to be sent: they are not made.
    lost = [job for job in ended if job["state"] != "succeeded"]
    unexpected = [job for job in lost if job["error"]["code"] != "worker-lost" or job["id"] in sent]
    assert [(job["error"], job["attempts"], sent.get(job["id"], 0)) for job in unexpected] == []
    assert len(lost) <= 2 * load.clients, "no more than were in progress at the two failovers"
    assert {sent[job["id"]] for job in ended if job["state"] == "succeeded"} == {1}
    assert set(sent.values()) == {1}, "also of those that could not be promised"


def test_a_failover_loses_no_accepted_job_and_makes_no_change_twice(deployment: Deployment):
    watched = Watched(deployment)
    watched.start()
    deployment.env |= {"SAPI_REDIS_URL": watched.url, "SAPI_WAIT_REPLICAS": "1"}
    client = deployment.api("api", free_port())
    workers = [deployment.worker(name) for name in ("one", "two")]
    eventually(lambda: workers_online(client) == 2, "both workers are online")
    with Load(client) as load:
        _goes_on(load)
        killed = watched.master
        watched.kill(killed)
        present = watched.await_master_other_than(killed)
        watched.start_server(killed)
        watched.await_replicas_of(present)
        _goes_on(load)
        watched.freeze(present)
        watched.await_master_other_than(present)
        # For a while it still acts as the master, until it learns that it may not write any more.
        watched.thaw(present)
        watched.await_replicas_of(killed)
        _goes_on(load)
    _all_done_once(client, load, deployment)
    assert [worker.poll() for worker in workers] == [None, None]


def test_without_enough_replicas_no_job_is_accepted_or_begun(deployment: Deployment):
    watched = Watched(deployment, replicas=2)
    watched.start()
    deployment.env |= {"SAPI_REDIS_URL": watched.url, "SAPI_WAIT_REPLICAS": "2"}
    client = deployment.api("api", free_port())
    replica, _ = set(watched.ports) - {watched.master}
    waits = client.post("/v4/filer/volumes/before", json={}).json()["id"]
    watched.kill(replica)
    refused = client.post("/v4/filer/volumes/after", json={})
    assert (refused.status_code, refused.json()["code"]) == (503, "queue-unavailable")
    deployment.worker("one")
    eventually(lambda: client.get(f"/v4/jobs/{waits}").json()["state"] == "running", "the worker takes the job")
    still = client.get(f"/v4/jobs/{waits}", headers={"Prefer": "wait=3"}).json()
    assert (still["state"], deployment.sent()) == ("running", {})
    watched.start_server(replica)
    assert client.ended(waits)["state"] == "succeeded"
    assert list(deployment.sent()) == [waits]
