"""One trace of real processes: from the client over the API and two workers to the end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.own_stack import QUICK, Node, own_stack
from tests.e2e.span_memory import install, read_spans
from tests.worker.webhooks.receiver import SECRET, HookReceiver

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_PARENT = "b7ad6b7169203331"


def await_spans(folder: Path, *beginnings: str) -> list[dict[str, Any]]:
    """The spans of the trace, when there are some whose names begin like this."""
    deadline = time.monotonic() + 60
    while True:
        spans = list(read_spans(folder, _TRACE))
        names = [span["name"] for span in spans]
        if all(any(name.startswith(beginning) for name in names) for beginning in beginnings):
            return spans
        assert time.monotonic() < deadline, names
        time.sleep(0.2)


@pytest.fixture
def receiver() -> Iterator[HookReceiver]:
    made = HookReceiver()
    yield made
    made.close()


def test_one_trace_reaches_from_the_client_to_the_end(tmp_path: Path, receiver: HookReceiver):
    traced, hosts = install(tmp_path / "spans"), f"http://127.0.0.1:{receiver.port}"
    with own_stack(tmp_path, {"dummy": {"volumes": 3}}, QUICK, environment=traced, callback_hosts=hosts) as running:
        running.start_webhooks(SECRET)
        running.await_webhooks()
        client = running.client()
        # Celery's messages are made from the first one of their kind, whose trace is not that of the others.
        client.post("/v4/dummy/volumes/before", json={"size_total": 2**20}, headers={"Prefer": "wait=20"})
        headers = {"traceparent": f"00-{_TRACE}-{_PARENT}-01", "Callback-URL": receiver.url, "Prefer": "wait=20"}
        answer = client.post("/v4/dummy/volumes/traced", json={"size_total": 2**20}, headers=headers)
        assert answer.status_code == 201, answer.text
        job = client.get(answer.headers["Operation-Location"]).json()
        assert job["trace_id"] == _TRACE
        spans = await_spans(
            tmp_path / "spans", "POST", "wait", "storage create_volume", "run/storage.create", "run/storage.deliver"
        )
    by_name = {span["name"]: span for span in spans}
    request = next(span for span in spans if span["name"].startswith("POST"))
    assert request["parent_id"] == f"0x{_PARENT}"
    attempt, task = by_name["attempt create_volume"], by_name["run/storage.create_volume"]
    assert task["parent_id"] == by_name["wait"]["parent_id"] == _id(request)
    assert attempt["parent_id"] == _id(task)
    assert by_name["storage create_volume"]["parent_id"] == _id(attempt)
    assert attempt["attributes"]["job.id"] == job["id"]
    published, sent = by_name["apply_async/storage.deliver_webhook"], by_name["run/storage.deliver_webhook"]
    assert published["parent_id"] == _id(request)
    assert sent["parent_id"] == _id(published)
    assert by_name["deliver webhook"]["parent_id"] == _id(sent)
    assert by_name["deliver webhook"]["attributes"]["webhook.outcome"] == "delivered"
    lines = [line for path in tmp_path.glob("*.log") for line in path.read_text().splitlines() if _TRACE in line]
    assert {json.loads(line)["process"] for line in lines} == {"api", "quick", "webhooks"}


def _id(span: dict[str, Any]) -> str:
    return str(span["context"]["span_id"])


def test_a_worker_that_reconciles_continues_the_trace(tmp_path: Path):
    slow, traced = {"dummy": {"volumes": 3, "latency_s": 3}}, install(tmp_path / "spans")
    with own_stack(tmp_path, slow, QUICK, environment=traced, lease=3) as running:
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
        spans = await_spans(tmp_path / "spans", "reconcile create_volume")
    request = next(span for span in spans if span["name"].startswith("POST"))
    (reconciled,) = [span for span in spans if span["name"].startswith("reconcile")][-1:]
    assert reconciled["parent_id"] == _id(request)


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
