"""RabbitMQ carries the messages, Redis stores the records: the broker is killed, frozen, or has unknown messages."""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytest
import requests
from kombu.connection import Connection

from deploy.dev.embedded_redis import free_port
from tests.hosts.deployment import SUBSYSTEM, Deployment, eventually, safe, workers_online
from tests.hosts.load import Load
from tests.hosts.rabbit import Rabbit, why_impossible

_WHY_NOT = why_impossible()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(_WHY_NOT is not None, reason=_WHY_NOT or ""),
]
#: What a worker says of a broker that does not answer.
_SILENT = ("heartbeats missed", "broker.unavailable", "consumer.silent")
#: What a worker says when it begins to listen.
_CONNECTED = "Connected to amqp"


def _tasks(address: str) -> dict[str, Any]:
    try:
        answer = requests.get(f"{address}/api/tasks?limit=10000", timeout=5)
        return dict(answer.json()) if answer.ok else {}
    except requests.RequestException:
        return {}


def _send(url: str, task: str) -> None:
    """Put a message into a queue that is none of ours."""
    with Connection(url) as connection, connection.Producer() as producer:
        producer.publish(
            [["x"], {}, {}], routing_key=f"{SUBSYSTEM}.write", headers={"task": task, "id": "x"}, serializer="json"
        )


def _count_silence(deployment: Deployment) -> int:
    """How often a worker has noticed that the broker does not answer."""
    log = deployment.log("one")
    return sum(log.count(words) for words in _SILENT)


def _goes_on(load: Load) -> None:
    before = load.count(202)
    eventually(lambda: load.count(202) > before + 3, "jobs are accepted")


def test_no_job_is_lost_or_repeated_when_the_broker_fails(deployment: Deployment):
    rabbit, port = Rabbit(deployment), free_port()
    rabbit.start()
    deployment.env |= {
        "SAPI_REDIS_URL": f"redis://:{deployment.redis_password}@127.0.0.1:{port}/0",
        "SAPI_BROKER_URL": rabbit.url,
        "FLOWER_UNAUTHENTICATED_API": "1",
    }
    deployment.redis("redis", port, *safe(deployment.redis_password))
    client = deployment.api("api", free_port())
    flower = f"http://127.0.0.1:{free_port()}"
    deployment.start(
        "flower", sys.executable, "-m", "celery", "-A", "worker.flower.app", "flower", "--address=127.0.0.1",
        f"--port={flower.rpartition(':')[2]}",
    )  # fmt: skip
    workers = [deployment.worker(name) for name in ("one", "two")]
    eventually(lambda: workers_online(client) == 2, "both workers are online")
    with Load(client) as load:
        eventually(lambda: len(_tasks(flower)) > 3, "Flower sees tasks")
        _send(rabbit.url, "somebody.else")
        _send(rabbit.url, "storage.create_volume")
        _goes_on(load)
        rabbit.kill()
        _goes_on(load)
        connections = deployment.log("one").count(_CONNECTED)
        rabbit.start()
        eventually(lambda: deployment.log("one").count(_CONNECTED) > connections, "a worker is connected again", 60)
        _goes_on(load)
        noticed = _count_silence(deployment)
        rabbit.signal(signal.SIGSTOP)
        _goes_on(load)
        # On its connection, when it connects, or while it prepares a connection: it may just have lost one, for a
        # foreign message.
        eventually(lambda: _count_silence(deployment) > noticed, "a worker hears nothing", 60)
        rabbit.signal(signal.SIGCONT)
        _goes_on(load)
    # No request was refused: acceptance does not depend on the broker.
    assert set(load.statuses) == {202}
    assert {client.ended(job_id)["state"] for job_id in load.accepted} == {"succeeded"}
    assert set(deployment.sent().values()) == {1}
    assert [worker.poll() for worker in workers] == [None, None]
    logs = deployment.log("one") + deployment.log("two")
    assert "somebody.else" in logs
    assert "Unrecoverable" not in logs
