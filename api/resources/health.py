"""Is the service alive, is it ready, and what does it do: for probes and for Prometheus."""

from __future__ import annotations

from typing import Any

import orjson
import redis
from flask import Response, current_app

from api.http.problems import Problem
from api.monitoring import metrics, readiness, request_metrics
from api.openapi.blueprint import ANYONE, Blueprint
from api.services import current_services

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

    Which workers are online, and the state of the storage systems. 503 while Redis is unavailable.
    """
    try:
        state = readiness.check(current_services())
    except redis.RedisError:
        headers = {"Retry-After": "2"}
        detail = "Redis is away: jobs can neither be recorded nor read."
        raise Problem("queue-unavailable", detail, headers=headers, extra={"redis": "away"}) from None
    return _json({"status": "ready", "redis": "ok", **state})


@blp.route("/metrics")
@blp.exposes("metrics", access=ANYONE)
@blp.response(200, {"type": "string"}, content_type="text/plain")
def scrape():
    """Figures for Prometheus"""
    flushed = request_metrics.counter_buffer().flush()
    counts = metrics.text(current_services(), away=not flushed)
    return Response(counts, content_type=metrics.MEDIA_TYPE, headers={"Cache-Control": "no-store"})


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), content_type="application/json", headers={"Cache-Control": "no-store"})
