"""Is the service alive, is it ready, and what does it do: for probes and for Prometheus."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import redis
from flask import Response, current_app, request

from api.http.preferences import takes_gzip
from api.http.problems import Problem
from api.monitoring import metrics, readiness, request_metrics
from api.openapi.blueprint import ANYONE, Blueprint
from api.services import current_services
from worker.store.client import explain

blp = Blueprint("health", __name__, description="Health")


@blp.route("/healthz")
@blp.exposes("healthz", access=ANYONE)
@blp.response(200, {"type": "object"}, example={"status": "alive", "version": "1.0.0"})
def healthz():
    """Is this process alive?

    Also while Redis is away. Tells the version that it runs, so that a rollout can see whether it is the new one.
    """
    return _json({"status": "alive", "version": current_app.config["API_VERSION"]})


@blp.route("/readyz")
@blp.exposes("readyz", access=ANYONE)
@blp.response(200, {"type": "object"}, example={"status": "ready", "redis": "ok", "queues": {}, "subsystems": {}})
def readyz():
    """Can it take jobs?

    Which workers are online, and the state of the storage systems. 503 while no job could be recorded, because Redis is
    unavailable or refuses writes.
    """
    services = current_services()
    probe = services.write_probe.state()
    if probe.problem:
        raise _not_ready(probe.problem, "refuses-writes" if probe.answers else "away")
    try:
        state = readiness.check(services)
    except redis.RedisError as error:
        raise _not_ready(explain(error), "away") from None
    return _json({"status": "ready", "redis": "ok", **state})


@blp.route("/metrics")
@blp.exposes("metrics", access=ANYONE)
@blp.response(200, {"type": "string"}, content_type="text/plain")
def scrape():
    """Figures for Prometheus"""
    services = current_services()
    probe = services.write_probe.state()
    if not probe.problem:
        request_metrics.counter_buffer().flush()
    encode, media_type = metrics.form_for(request.headers.get("Accept", ""))
    counts = metrics.text(services, probe, encode)
    headers = {"Cache-Control": "no-store", "Vary": "Accept, Accept-Encoding"}
    if takes_gzip(request):
        counts, headers["Content-Encoding"] = gzip.compress(counts, 1), "gzip"
    return Response(counts, content_type=media_type, headers=headers)


def _not_ready(problem: str, redis_state: str) -> Problem:
    consequence = "be recorded" if redis_state == "refuses-writes" else "be recorded or read"
    detail = f"Jobs cannot {consequence} now. What Redis said: {problem}."
    return Problem("queue-unavailable", detail, headers={"Retry-After": "2"}, extra={"redis": redis_state})


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), content_type="application/json", headers={"Cache-Control": "no-store"})
