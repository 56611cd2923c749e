"""The health check of worker containers."""

from __future__ import annotations

import os

import pytest
from redis import Redis

from worker import healthcheck as alive

HERE = f"worker@{os.uname().nodename}"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, redis_url: str, redis_client: Redis) -> None:
    monkeypatch.setenv("SAPI_REDIS_URL", redis_url)
    monkeypatch.setenv("SAPI_BACKENDS", "dummy🌈DummyStorage")
    monkeypatch.delenv("SAPI_SUBSYSTEMS", raising=False)


def seen(client: Redis, node: str, seconds_ago: float) -> None:
    now = client.time()
    client.zadd("sapi:workers:dummy.read", {node: (now[0] - seconds_ago) * 1000})


def test_a_worker_that_was_just_seen_is_alive(redis_client: Redis) -> None:
    seen(redis_client, HERE, 3)
    assert alive.main([]) == 0


@pytest.mark.parametrize(("node", "seconds_ago"), [(HERE, 60), ("worker@elsewhere", 3), ("other@" + HERE[7:], 3)])
def test_no_other_and_no_earlier_one_counts(redis_client: Redis, node: str, seconds_ago: float) -> None:
    seen(redis_client, node, seconds_ago)
    assert alive.main([]) == 1


def test_a_worker_is_looked_for_under_the_subsystems_that_it_serves(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(redis_client, HERE, 3)
    monkeypatch.setenv("SAPI_SUBSYSTEMS", "another")
    assert alive.main([]) == 1


def test_without_redis_it_is_not_alive_unless_that_is_forgiven(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAPI_REDIS_URL", "redis://127.0.0.1:1/0")
    assert alive.main([]) == 1
    assert "Redis is away" in capsys.readouterr().out
    assert alive.main(["--forgive-redis"]) == 0


def test_wrong_settings_are_told_in_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SAPI_LEASE", "soon")
    assert alive.main([]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
