"""Minimal implementations for comparison: views that send bytes or a Celery message, and an empty task."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from flask import Flask, Response

FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))

app = Flask("bare")
celery = Celery("bare", broker=os.environ.get("SAPI_REDIS_URL"), backend=os.environ.get("SAPI_REDIS_URL"))
celery.conf.update(task_default_queue="bare", redis_socket_keepalive=True)
_kept: dict[str, bytes] = {}


@celery.task(name="bare.nothing")
def nothing() -> None:
    """Do nothing."""


@celery.task(name="bare.unheard", ignore_result=True, queue="nobody")
def unheard() -> None:
    """A task for a queue without consumers."""


@app.get("/healthz")
def healthz() -> str:
    """Answer a health check."""
    return "ok"


@app.get("/bytes/<name>")
def prepared(name: str) -> Response:
    """Send the same bytes as the service, from memory."""
    if name not in _kept:
        _kept[name] = (FOLDER / name).read_bytes()
    response = Response(_kept[name], content_type="application/json")
    response.headers["Content-Encoding"] = "gzip"
    return response


@app.get("/unchanged")
def unchanged() -> Response:
    """Answer 304."""
    return Response(status=304)


@app.post("/wait")
def wait() -> tuple[dict[str, str], int]:
    """Send a task, and wait for its result."""
    task = nothing.delay()
    task.get(timeout=30)
    return {"id": task.id}, 201


@app.post("/submit")
def submit() -> tuple[dict[str, str], int]:
    """Send one message, and answer with its id."""
    return {"id": unheard.apply_async().id}, 202
