"""What Prometheus reads: true, and the same from every process."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
from flask import Flask

from api.monitoring import request_metrics
from api.monitoring.request_metrics import cache_outcome
from storage_backends.errors import BackendUnavailable
from tests.api.front_end import FrontEnd, accepted
from tests.api.monitoring.metric_values import alerts, counts, filer_figures
from worker.config.settings import Settings
from worker.jobs.event_log import EventLog
from worker.store.metrics import JOB_BOUNDS_MS, BreakerReport, CounterBuffer

_MONITORING = Path(__file__).resolve().parents[3] / "deploy" / "monitoring"
_PRELUDE = Path(__file__).resolve().parents[3] / "worker" / "store" / "lua" / "job_functions.lua"


@contextmanager
def memory_limit(client, size: int):
    client.config_set("maxmemory", size)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def figure(client, name: str, **labels: str) -> float | None:
    return counts(client).get((name, frozenset(labels.items())))


def test_jobs_are_counted_by_their_outcome(busy):
    labels = {"subsystem": "filer", "operation": "create_volume"}
    assert figure(busy, "sapi_jobs_ended_total", state="succeeded", code="", fault="", **labels) == 1
    failed = {"state": "failed", "code": "already-exists", "fault": "request"}
    assert figure(busy, "sapi_jobs_ended_total", **failed, **labels) == 1
    assert figure(busy, "sapi_jobs_failed_total", subsystem="filer", code="already-exists") == 1


def test_failures_of_the_service_have_their_own_label(client, worker):
    worker.fail(accepted(client.post("/v4/filer/volumes/a")), "backend-error")
    labels = {"subsystem": "filer", "operation": "create_volume", "state": "failed", "code": "backend-error"}
    assert figure(client, "sapi_jobs_ended_total", fault="service", **labels) == 1


def test_counters_of_alerts_begin_at_0(client, worker):
    codes = {code for rule in alerts() for code in re.findall(r'code="([^"]+)"', rule["expr"])}
    assert codes >= {"outcome-unknown"}
    for code in codes:
        assert figure(client, "sapi_jobs_failed_total", subsystem="filer", code=code) == 0, code
        worker.fail(accepted(client.post(f"/v4/filer/volumes/{code}")), code)
        assert figure(client, "sapi_jobs_failed_total", subsystem="filer", code=code) == 1, code


def test_the_manual_lists_every_metric(busy):
    manual = (_MONITORING.parents[1] / "docs/operating.md").read_text("utf-8")
    named = set(re.findall(r"`(sapi_[a-z0-9_]+)`", manual))
    there = {re.sub("_(bucket|sum|count|created)$", "", name) for name, _ in counts(busy)}
    there = {name for name in there if name.startswith("sapi_")}
    assert len(there) > 20
    assert there - named == set()


def test_memory_of_redis_and_its_limit(client, redis_client):
    with memory_limit(redis_client, 10**9):
        assert figure(client, "sapi_redis_memory_limit_bytes") == 10**9
    assert figure(client, "sapi_redis_memory_limit_bytes") == 0
    used = redis_client.info("memory")["used_memory"]
    assert used / 2 < (figure(client, "sapi_redis_memory_bytes") or 0) < used * 2


def test_run_and_queue_times_are_histograms(busy):
    labels = {"subsystem": "filer", "operation": "create_volume"}
    assert figure(busy, "sapi_job_run_seconds_count", **labels) == 2
    assert figure(busy, "sapi_job_run_seconds_bucket", le="+Inf", **labels) == 2
    assert figure(busy, "sapi_job_run_seconds_bucket", le="1800.0", **labels) == 2
    assert figure(busy, "sapi_job_wait_seconds_count", queue="filer.write") == 2
    assert figure(busy, "sapi_job_wait_seconds_count", queue="filer.list") == 1


def test_buckets_count_what_is_below_them(front_end, client):
    counters = CounterBuffer(front_end.services.redis, "sapi:")
    for seconds in (0.004, 0.02, 0.4, 99):
        counters.observe("time GET /x", seconds, (5, 25, 100, 500))
    counters.flush()
    buckets = {le: figure(client, "sapi_http_request_seconds_bucket", method="GET", route="/x", le=le)
             for le in ("0.005", "0.025", "0.1", "0.5", "+Inf")}  # fmt: skip
    assert buckets == {"0.005": 1, "0.025": 2, "0.1": 2, "0.5": 3, "+Inf": 4}
    assert figure(client, "sapi_http_request_seconds_sum", method="GET", route="/x") == pytest.approx(99.424)


def test_scripts_and_reader_use_the_same_buckets():
    match = re.search(r"BOUNDS_MS = \{(.*?)\}", _PRELUDE.read_text())
    assert match
    assert tuple(map(int, match[1].split(","))) == JOB_BOUNDS_MS


def test_metrics_of_a_queue(busy, redis_client):
    job = redis_client.zrange("sapi:queued:filer.write", 0, 0)[0].decode()
    created = int(redis_client.hget(f"sapi:job:{job}", "created"))
    redis_client.hset(f"sapi:job:{job}", "created", created - 90_000)
    assert figure(busy, "sapi_queue_jobs", queue="filer.write") == 1
    assert figure(busy, "sapi_queue_jobs_limit", queue="filer.write") == Settings().queue_limit
    oldest = figure(busy, "sapi_queue_oldest_seconds", queue="filer.write")
    assert oldest is not None
    assert oldest >= 90
    assert figure(busy, "sapi_queue_oldest_seconds", queue="other.write") == 0
    assert figure(busy, "sapi_workers_online", queue="filer.write") == 1
    assert figure(busy, "sapi_workers_online", queue="other.write") == 0


def test_a_queue_entry_without_a_record_does_not_break_metrics(busy, redis_client):
    redis_client.zadd("sapi:queued:filer.list", {"forgotten": 1})
    assert figure(busy, "sapi_queue_oldest_seconds", queue="filer.list") == 0
    assert figure(busy, "sapi_redis_up") == 1


def test_reads_are_counted_by_how_they_were_answered(busy):
    assert figure(busy, "sapi_cache_answers_total", view="volumes", outcome="miss") == 1
    assert figure(busy, "sapi_cache_answers_total", view="volumes", outcome="hit") == 1
    assert busy.head("/v4/filer/volumes").status_code == 200
    assert figure(busy, "sapi_cache_answers_total", view="volumes", outcome="hit") == 2


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("storage-api; hit; ttl=12", "hit"),
        ("storage-api; hit; ttl=-12", "stale"),
        ("storage-api; fwd=miss", "miss"),
        ("storage-api; fwd=stale", "miss"),
        ("storage-api; fwd=request", "bypass"),
        ("storage-api; fwd=miss; collapsed", "collapsed"),
        ("", ""),
    ],
)
def test_the_outcome_label_of_a_cache_status(status, outcome):
    assert cache_outcome(status) == outcome


def test_metrics_of_a_listing(busy):
    age = figure(busy, "sapi_listing_age_seconds", subsystem="filer", view="volumes")
    assert age is not None
    assert 0 <= age < 60
    assert figure(busy, "sapi_listing_records", subsystem="filer", view="volumes") == 13
    assert figure(busy, "sapi_listing_age_seconds", subsystem="other", view="volumes") is None


def test_metrics_of_storage_systems(front_end, busy):
    assert figure(busy, "sapi_filer_up", subsystem="filer") == 1
    # Of one that no worker has reported about nobody knows, so that no alert fires.
    assert figure(busy, "sapi_filer_up", subsystem="other") is None
    assert figure(busy, "sapi_filer_breakers", subsystem="filer", state="closed") == 1
    counted: list[str] = []
    filer = filer_figures(front_end, counted.append)
    for _ in range(6):
        with pytest.raises(BackendUnavailable), filer.session():
            pass
    assert set(counted) == {"backend-unavailable", "breaker-open"}
    BreakerReport(front_end.services.redis, "sapi:", "one@here", {"filer": filer})()
    assert figure(busy, "sapi_filer_breakers", subsystem="filer", state="open") == 1
    assert figure(busy, "sapi_filer_breakers", subsystem="filer", state="closed") is None


def test_requests_are_counted_by_route_and_not_by_path(busy):
    route = "/v4/{subsystem}/volumes/{volume}"
    assert figure(busy, "sapi_http_requests_total", method="POST", route=route, status="2xx") == 3
    for method, path in (
        ("GET", "/surely/not/there"),
        ("BREW", "/surely/not/there"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    ):
        busy.open(path, method=method)
    for method in ("GET", "other"):
        assert figure(busy, "sapi_http_requests_total", method=method, route="other", status="4xx") == 1
    labels = {value for _, labels in counts(busy) for _, value in labels}
    assert not {"a", "b", "/surely/not/there", "ann", "BREW", "/healthz", "/readyz", "/metrics"} & labels


def test_requests_that_ask_to_wait_are_not_timed(front_end, client):
    client.get("/v4/filer/volumes", headers={"Prefer": "respond-async"})
    route = "/v4/{subsystem}/volumes"
    assert figure(client, "sapi_http_requests_total", method="GET", route=route, status="2xx") == 1
    assert figure(client, "sapi_http_request_seconds_count", method="GET", route=route) is None


def test_every_process_reports_the_counts_of_all(front_end, busy, redis_url):
    other = FrontEnd(redis_url).client()
    assert counts(other)[("sapi_jobs_ended_total", frozenset(
        {("subsystem", "filer"), ("operation", "create_volume"), ("state", "failed"),
         ("code", "already-exists"), ("fault", "request")}
    ))] == 1  # fmt: skip
    other.get("/conf/subsystems")
    busy.get("/conf/subsystems")
    figures = [figure(c, "sapi_http_requests_total", method="GET", route="/conf/subsystems", status="2xx")
             for c in (other, busy, other)]  # fmt: skip
    assert figures == [1, 2, 2]


def test_counts_from_an_outage_of_redis_are_reported_later(front_end, redis_client):
    away = FrontEnd("redis://127.0.0.1:1/0").services.redis
    counters = CounterBuffer(away, "sapi:")
    counters.count("http GET /x 5xx")
    counters.flush()
    counters._redis = front_end.services.redis
    counters.count("http GET /x 5xx")
    counters.flush()
    counters.flush()
    assert redis_client.hget("sapi:metrics", "http GET /x 5xx") == b"2"


def test_the_last_counts_are_written_when_the_process_ends(front_end, redis_client, monkeypatch):
    at_end: list[Callable[[], object]] = []
    monkeypatch.setattr(request_metrics, "at_end", at_end.append)
    monkeypatch.setattr(CounterBuffer, "start_flushing", started := Mock())
    app = Flask("ending")
    request_metrics.init_app(app, front_end.services)
    assert app.test_client().get("/x").status_code == 404
    started.assert_called_once_with()
    for callback in at_end:
        callback()
    assert redis_client.hgetall("sapi:metrics") == {b"http GET other 4xx": b"1"}


def test_webhooks_are_counted_by_receiver_and_callbacks_as_one(busy):
    assert figure(busy, "sapi_webhook_deliveries_total", outcome="delivered", receiver="tickets") == 1
    assert figure(busy, "sapi_webhook_waiting", receiver="tickets") == 2
    assert figure(busy, "sapi_webhook_waiting", receiver="callbacks") == 2
    # Since the first second of 1970.
    assert figure(busy, "sapi_webhook_failing_seconds", receiver="tickets") == pytest.approx(time.time(), abs=60)
    # Of several hosts the one that has failed for the longest time counts.
    assert figure(busy, "sapi_webhook_failing_seconds", receiver="callbacks") == pytest.approx(time.time(), abs=60)


def test_changes_not_read_by_the_webhook_process_are_reported(client, front_end, redis_client):
    accepted(client.post("/v4/filer/volumes/a"))
    assert figure(client, "sapi_webhook_unread_seconds") is None
    tail = EventLog(front_end.services.redis, "sapi:").tail()
    redis_client.set("sapi:webhook_position", str(tail))
    assert figure(client, "sapi_webhook_unread_seconds") == 0
    redis_client.delete("sapi:event_log")
    redis_client.xadd("sapi:event_log", {"n": 1, "position": 0, "workers": 0, "id": "x", "request": "{}"}, id="1000-0")
    redis_client.set("sapi:webhook_position", "999-0-0")
    assert figure(client, "sapi_webhook_unread_seconds") == pytest.approx(time.time(), abs=60)


def test_the_overview_shows_receivers_to_those_who_have_signed_in(busy, front_end):
    page = busy.get("/console/").get_data(as_text=True)
    assert "tickets" in page
    assert "it answered 500" in page
    assert "2 receivers of webhooks cannot be reached" in page
    assert "tickets" not in front_end.stranger().get("/console/").get_data(as_text=True)
