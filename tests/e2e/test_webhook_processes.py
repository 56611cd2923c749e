"""Webhooks of real processes, through kills of the sender and of Redis and an absence of the receiver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import Client
from tests.e2e.client import problem as problem_of
from tests.e2e.own_stack import QUICK, OwnStack, own_stack
from tests.worker.webhooks.receiver import SECRET, HookReceiver

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def receiver() -> Iterator[HookReceiver]:
    made = HookReceiver()
    yield made
    made.close()


@pytest.fixture
def running(tmp_path: Path, receiver: HookReceiver) -> Iterator[OwnStack]:
    (tmp_path / "secret").write_text(SECRET)
    hooks = tmp_path / "hooks.toml"
    hooks.write_text(f'[ours]\nurl = "{receiver.url}"\nsecret = {{file = "secret"}}\n')
    hosts = f"http://127.0.0.1:{receiver.port}"
    with own_stack(tmp_path, {"dummy": {"volumes": 3}}, QUICK, callback_hosts=hosts) as stack:
        stack.hooks_file = hooks
        stack.start_webhooks(SECRET)
        stack.await_webhooks()
        yield stack


def change(client: Client, name: str, **headers: str) -> str:
    answer = client.post(f"/v4/dummy/volumes/{name}", json={"size_total": 2**20}, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_every_end_is_delivered_whichever_process_is_killed(running: OwnStack, receiver: HookReceiver):
    client = running.client()
    jobs = [change(client, f"a{n}") for n in range(10)]
    receiver.wait_for(5)
    running.processes.started["webhooks"].kill()
    running.processes.started.pop("webhooks").wait(20)
    jobs += [change(client, f"b{n}") for n in range(10)]
    running.start_webhooks(SECRET)
    receiver.wait_for(20, 60)
    running.restart_redis()
    receiver.answer = lambda attempt: 503 if attempt % 2 else 204
    jobs += [change(client, f"c{n}") for n in range(5)]
    deadline = time.monotonic() + 60
    while {hook.body["data"]["id"] for hook in list(receiver.hooks)} != set(jobs):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    page = client.get("/status").text
    assert "ours" in page
    metrics = client.get("/metrics").text
    assert 'sapi_webhook_deliveries_total{outcome="delivered",receiver="ours"}' in metrics


def test_a_client_is_notified_of_its_own_job(running: OwnStack, receiver: HookReceiver):
    client = running.client()
    job_id = change(client, "mine", **{"Callback-URL": f"http://127.0.0.1:{receiver.port}/mine"})
    receiver.wait_for(2)
    hooks = [hook for hook, path in zip(receiver.hooks, receiver.paths, strict=True) if path == "/mine"]
    assert [hook.body["data"]["id"] for hook in hooks] == [job_id]
    for url in ("http://127.0.0.1:1/", "https://elsewhere.example/", "ftp://127.0.0.1/", "nonsense", ""):
        answer = client.post("/v4/dummy/volumes/x", json={}, headers={"Callback-URL": url})
        assert problem_of(answer, 422, "validation-failed")["errors"][0]["pointer"] == "/Callback-URL"
