"""One trace of real processes: from the client over the API and two workers to the end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.own_stack import LIST, QUICK, Node, own_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_PARENT = "b7ad6b7169203331"
_TRACED = {"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_SCHEDULE_DELAY": "100"}


def spans(folder: Path) -> list[dict[str, Any]]:
    """The spans of the trace that processes have written, among their other output."""
    of_trace = []
    decoder = json.JSONDecoder()
    for path in folder.glob("*.log"):
        text = path.read_text(errors="replace")
        start = text.find("{\n")
        while start >= 0:
            try:
                span, length = decoder.raw_decode(text[start:])
            except ValueError:
                length = 1
            else:
                if span.get("context", {}).get("trace_id") == f"0x{_TRACE}":
                    of_trace.append(span)
            start = text.find("{\n", start + length)
    return of_trace


def await_spans(folder: Path, *beginnings: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 60
    while True:
        written = spans(folder)
        names = [span["name"] for span in written]
        if all(any(name.startswith(beginning) for name in names) for beginning in beginnings):
            return written
        assert time.monotonic() < deadline, names
        time.sleep(0.2)


def test_one_trace_from_the_client_to_the_end(tmp_path: Path):
    with own_stack(tmp_path, {"dummy": {"volumes": 3}}, QUICK, LIST, environment=_TRACED) as running:
        client = running.client()
        # Celery's messages are made from the first one of their kind, whose trace is not that of the others.
        client.post("/v4/dummy/volumes/before", json={"size_total": 2**20}, headers={"Prefer": "wait=20"})
        headers = {"traceparent": f"00-{_TRACE}-{_PARENT}-01"}
        answer = client.post(
            "/v4/dummy/volumes/traced", json={"size_total": 2**20}, headers={"Prefer": "wait=20", **headers}
        )
        assert answer.status_code == 201, answer.text
        job = client.get(answer.headers["Operation-Location"]).json()
        assert job["trace_id"] == _TRACE
        written = await_spans(tmp_path, "POST", "wait", "attempt create_volume", "storage create_volume", "run/")
    by_name = {span["name"]: span for span in written}
    request = next(span for span in written if span["name"].startswith("POST"))
    assert request["parent_id"] == f"0x{_PARENT}"
    attempt, task = by_name["attempt create_volume"], by_name["run/storage.create_volume"]
    assert task["parent_id"] == by_name["wait"]["parent_id"] == request["context"]["span_id"]
    assert attempt["parent_id"] == task["context"]["span_id"]
    assert by_name["storage create_volume"]["parent_id"] == attempt["context"]["span_id"]
    assert attempt["attributes"]["job.id"] == job["id"]
    lines = [line for path in tmp_path.glob("*.log") for line in path.read_text().splitlines() if _TRACE in line]
    logged = {json.loads(line)["process"] for line in lines if line.startswith("{") and '"process"' in line}
    assert logged == {"api", "quick"}


def test_another_worker_that_reconciles_goes_on_with_the_trace(tmp_path: Path):
    slow = {"dummy": {"volumes": 3, "latency_s": 3}}
    with own_stack(tmp_path, slow, QUICK, environment=_TRACED, lease=3) as running:
        client = running.client()
        headers = {"traceparent": f"00-{_TRACE}-{_PARENT}-01"}
        job = client.submit("POST", "/v4/dummy/volumes/lost", {"size_total": 2**20}, **headers)
        deadline = time.monotonic() + 30
        while not running.redis_client().hget(f"sapi:job:{job['id']}", "step"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.kill(QUICK)
        running.start(Node("other", "write,read"))
        assert client.ended(job["id"])["trace_id"] == _TRACE
        written = await_spans(tmp_path, "reconcile create_volume")
    request = next(span for span in written if span["name"].startswith("POST"))
    (reconciled,) = [span for span in written if span["name"].startswith("reconcile")][-1:]
    assert reconciled["parent_id"] == request["context"]["span_id"]


@pytest.mark.parametrize("module", ["api.app", "worker.main", "worker.webhooks.main"])
def test_without_the_variables_nothing_of_it_is_imported(module: str):
    # redis-py itself looks whether the API for metrics is there.
    program = (
        f"import sys, {module}\nfrom worker.telemetry import tracing\nassert not tracing.configure('x')\n"
        "with tracing.span('x'): assert tracing.current_context() == ''\n"
        "mine = ('opentelemetry.instrumentation', 'opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(mine)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
