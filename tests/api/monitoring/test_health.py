"""Probes and figures."""

from __future__ import annotations

import gzip
import tomllib
from pathlib import Path

import pytest
import redis
import structlog

from tests.api.front_end import FrontEnd, accepted, problem


@pytest.fixture
def alone():
    """A front end whose Redis is away."""
    return FrontEnd("redis://127.0.0.1:1/0").stranger()


def test_it_is_alive_without_redis(alone):
    project = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    assert alone.get("/healthz").json == {"status": "alive", "version": project["version"]}


def test_it_is_not_ready_without_redis(alone):
    assert problem(alone.get("/readyz"), 503, "queue-unavailable")["redis"] == "away"


def test_it_is_ready_with_redis(front_end, redis_client):
    redis_client.set("sapi:health:filer", '{"status": "available"}')
    seconds, _ = redis_client.time()
    redis_client.zadd("sapi:workers:filer.write", {"one": seconds * 1000, "gone": seconds * 1000 - 60_000})
    redis_client.zadd("sapi:queued:filer.write", {"a job": 1, "another": 2, "a third": 3})
    redis_client.zadd("sapi:draining", {"one": seconds * 1000, "gone": seconds * 1000 - 60_000})
    state = front_end.stranger().get("/readyz").json
    assert (state["queues"]["filer.write"]["waiting"], state["draining"]) == (3, 1)
    assert (state["status"], state["redis"]) == ("ready", "ok")
    assert state["queues"]["filer.write"]["workers_online"] == 1
    assert state["queues"]["other.list"]["workers_online"] == 0
    assert state["subsystems"] == {"filer": {"status": "available"}, "other": {"status": "unknown"}}


def test_metrics_are_served_without_redis(alone):
    assert "sapi_redis_up 0.0" in alone.get("/metrics").text


def test_metrics_of_jobs(front_end, client, worker):
    worker.carry_out(accepted(client.post("/v4/filer/volumes/a")))
    accepted(client.post("/v4/filer/volumes/b"))
    text = client.get("/metrics").text
    assert "sapi_redis_up 1.0" in text
    assert (
        'sapi_jobs_ended_total{code="",fault="",operation="create_volume",state="succeeded",subsystem="filer"} 1.0'
        in text
    )
    assert 'sapi_queue_jobs{queue="filer.write"} 1.0' in text


def test_only_failed_probes_are_logged(front_end, alone, redis_client):
    with structlog.testing.capture_logs() as logged:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert front_end.stranger().get(path).status_code == 200
        assert [alone.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 503]
    requests = [(line["path"], line["status"]) for line in logged if line["event"] == "request"]
    assert requests == [("/readyz", 503)]


@pytest.mark.parametrize("error", [redis.ConnectionError, redis.TimeoutError, redis.ResponseError])
def test_redis_that_fails_after_the_probe_is_reported_as_down(front_end, redis_client, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error("Connection closed by server.")

    assert front_end.stranger().get("/readyz").status_code == 200
    monkeypatch.setattr("api.monitoring.readiness.check", fail)
    monkeypatch.setattr("api.monitoring.service_status.queues", fail)
    refused = front_end.stranger().get("/readyz")
    assert (problem(refused, 503, "queue-unavailable")["redis"], refused.headers["Retry-After"]) == ("away", "2")
    assert "sapi_redis_up 0.0" in front_end.stranger().get("/metrics").text


@pytest.mark.parametrize(
    ("accept", "media_type", "end"),
    [
        ("", "text/plain", "\n"),
        ("application/openmetrics-text; version=1.0.0,text/plain;q=0.5", "application/openmetrics-text", "# EOF\n"),
        ("application/openmetrics-text; version=one", "text/plain", "\n"),
        ("application/openmetrics-text; version=9.9.9", "text/plain", "\n"),
        ("application/openmetrics-text;q=0,text/plain", "text/plain", "\n"),
        ("application/openmetrics-text;q=0", "text/plain", "\n"),
        ("application/openmetrics-text;q=0.2,text/plain;version=0.0.4;q=0.5", "text/plain", "\n"),
        ("text/plain;version=0.0.4;q=0.5,Application/OpenMetrics-Text", "application/openmetrics-text", "# EOF\n"),
    ],
)
def test_metrics_have_the_requested_format(front_end, redis_client, accept, media_type, end):
    answer = front_end.stranger().get("/metrics", headers={"Accept": accept})
    assert (answer.status_code, answer.mimetype) == (200, media_type)
    assert answer.text.endswith(end)
    assert ("# EOF" in answer.text) is ("EOF" in end)
    packed = front_end.stranger().get("/metrics", headers={"Accept": accept, "Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data).decode().endswith(end)
    assert {*answer.headers["Vary"].split(", ")} >= {"Accept", "Accept-Encoding"}
    assert "Content-Encoding" not in answer.headers
