"""Is the service alive, is it ready, and what does it do: for probes and for Prometheus."""

from __future__ import annotations

from typing import Any

import orjson
import redis
from flask import Response

from api.http.problems import Problem
from api.monitoring import metrics, readiness, request_metrics
from api.openapi.blueprint import ANYONE, Blueprint
from api.services import current_services

blp = Blueprint("health", __name__, description="Health")


@blp.route("/healthz")
@blp.exposes("healthz", access=ANYONE)
@blp.response(200, {"type": "object"}, example={"status": "alive"})
def healthz():
    """Is this process alive?

    Also while Redis is away.
    """
    return _json({"status": "alive"})


@blp.route("/readyz")
@blp.exposes("readyz", access=ANYONE)
@blp.response(200, {"type": "object"}, example={"status": "ready", "redis": "ok", "queues": {}, "subsystems": {}})
def readyz():
    """Can it take jobs?

    Tells which workers are online, and how the storage systems are. 503 while Redis is away.
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
    told = request_metrics.counter_buffer().flush()
    counts = metrics.text(current_services(), away=not told)
    return Response(counts, content_type=metrics.MEDIA_TYPE, headers={"Cache-Control": "no-store"})


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), content_type="application/json", headers={"Cache-Control": "no-store"})
