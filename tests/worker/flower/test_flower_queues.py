"""Flower's page of queues shows ours, with what waits and runs in them."""

from __future__ import annotations

import pytest
import requests

from tests.worker.flower.test_flower_access import flower
from worker.flower.queues import queue_names


@pytest.fixture
def backlog(redis_client) -> None:
    redis_client.zadd("sapi:queued:one.write", {"a": 1, "b": 2})
    redis_client.zadd("sapi:running:one.write", {"c": 3})
    seconds, _ = redis_client.time()
    redis_client.zadd("sapi:workers:one.list", {"here@host": seconds * 1000, "gone@host": (seconds - 60) * 1000})


def test_every_queue_is_shown_with_its_jobs_and_workers(redis_url, backlog):
    signed_in = {"SAPI_BASIC_AUTH_USERNAME": "u", "SAPI_BASIC_AUTH_PASSWORD": "p"}
    with flower(redis_url, SAPI_BACKENDS="one🌈DummyStorage🦄two🌈DummyStorage", **signed_in) as address:
        queues = requests.get(f"{address}/api/queues/length", auth=("u", "p"), timeout=10).json()["active_queues"]
        page = requests.get(f"{address}/broker", auth=("u", "p"), timeout=10).text
        assert requests.get(f"{address}/broker", timeout=10).status_code == 401
    by_name = {queue["name"]: queue for queue in queues}
    assert {f"{name}.{kind}" for name in ("one", "two") for kind in ("write", "read", "list")} <= by_name.keys()
    assert all(name in page for name in by_name)
    counts = ("messages", "messages_ready", "messages_unacknowledged", "consumers")
    assert [by_name["one.write"][name] for name in counts] == [3, 2, 1, 0]
    assert (by_name["one.list"]["consumers"], by_name["two.list"]["consumers"]) == (1, 0)
    assert "celery" not in by_name


def test_without_names_of_storage_systems_no_queue_is_listed():
    assert queue_names({}) == []
