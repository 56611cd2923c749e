"""What a process checks of Redis and of Celery before it starts, and in which words it explains what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from redis.sentinel import MasterNotFoundError
from structlog.testing import capture_logs

from tests.worker.harness import PREFIX
from worker.config.settings import BadSettings, Settings, load
from worker.main import check_celery
from worker.messaging.app import create_celery
from worker.store.client import (
    WriteRefused,
    connect,
    explain,
    job_id_secret,
    refuses_writes,
    short_timeout_pool,
)
from worker.store.startup_checks import UnsafeRedis, await_redis, check_address, check_redis, check_redis_durability


@contextmanager
def _configured(client: redis.Redis, name: str, value: str) -> Iterator[None]:
    """Redis with another setting inside the block."""
    former: Any = client.config_get(name)[name]
    client.config_set(name, value)
    try:
        yield
    finally:
        client.config_set(name, former)


def test_a_durable_redis_is_accepted(redis_client: redis.Redis):
    assert check_redis(redis_client) == []
    check_redis_durability(redis_client, load(Settings))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("maxmemory-policy", "volatile-ttl", "set it to noeviction"),
        ("maxmemory-policy", "allkeys-lru", "set it to noeviction"),
        ("appendonly", "no", "set appendonly to yes"),
    ],
)
def test_a_redis_that_may_lose_jobs_is_refused_but_for_development(
    redis_client: redis.Redis, name: str, value: str, words: str
):
    with _configured(redis_client, name, value):
        (problem,) = check_redis(redis_client)
        assert words in problem
        with pytest.raises(UnsafeRedis, match=words):
            check_redis_durability(redis_client, load(Settings))
        check_redis_durability(redis_client, load(Settings, SAPI_DEBUG=True))


def test_a_wrong_password_is_a_configuration_error_and_an_outage_is_not(redis_url: str):
    _, _, address = redis_url.rpartition("@")
    with pytest.raises(BadSettings, match=r"^SAPI_REDIS_URL: .*password"):
        check_address(connect(load(Settings, redis_url=f"redis://:wrong@{address}")))
    check_address(connect(load(Settings, redis_url="redis://127.0.0.1:1/0")))
    check_address(connect(load(Settings, redis_url=redis_url)))


def test_a_worker_waits_for_a_redis_that_is_away_or_refuses_for_now(monkeypatch: pytest.MonkeyPatch):
    errors: list[Exception | None] = [None, redis.ConnectionError("away"), None, WriteRefused("MASTERDOWN")]
    pauses_s: list[float] = []

    def ping() -> None:
        if errors and (error := errors.pop(0)):
            raise error

    client: Any = SimpleNamespace(ping=ping)
    monkeypatch.setattr("worker.store.startup_checks.time", SimpleNamespace(sleep=pauses_s.append))
    with capture_logs() as logged:
        await_redis(client)
    assert (errors, pauses_s) == ([], [0.5, 0.5])
    assert [(line["event"], line["hint"]) for line in logged] == [("redis.unavailable", "waiting for it")]


def test_connections_have_time_limits_and_repeat_nothing(redis_url: str):
    settings = load(Settings, redis_url=redis_url)
    for client, limit_s in ((connect(settings), settings.redis_timeout), (connect(settings, command_timeout_s=9), 9)):
        arguments = client.connection_pool.connection_kwargs
        assert (arguments["socket_timeout"], arguments["socket_connect_timeout"]) == (limit_s, limit_s)
        assert arguments["retry"].get_retries() == 0
        assert (arguments["socket_keepalive"], arguments["protocol"]) == (True, 2)
        pipes: list[Any] = [client.pipeline(), client.pipeline(transaction=True), client.pipeline(transaction=False)]
        assert [pipe.transaction for pipe in pipes] == [True, True, False]
        short = short_timeout_pool(client.connection_pool).connection_kwargs
        assert short["socket_timeout"] < 1 > short["socket_connect_timeout"]
        assert short["password"] == arguments["password"]
        # A PING before the command would have the same time once more.
        assert (short["health_check_interval"], short["retry"].get_retries()) == (0, 0)
        other = short_timeout_pool(client.connection_pool, 0.7).connection_kwargs
        assert (other["socket_timeout"], other["socket_connect_timeout"]) == (0.7, 0.7)


@pytest.mark.parametrize(
    ("url", "kind"),
    [("rediss://host/0", redis.SSLConnection), ("redis://host/0", redis.Connection),
     ("unix:///run/redis.sock", redis.UnixDomainSocketConnection)],
)  # fmt: skip
def test_a_pool_with_a_shorter_time_limit_connects_in_the_same_way(url: str, kind: type[redis.Connection]):
    assert short_timeout_pool(connect(load(Settings, redis_url=url)).connection_pool).connection_class is kind


def test_every_process_signs_ids_with_one_secret(redis_client: redis.Redis):
    secret = job_id_secret(redis_client, PREFIX)
    assert len(secret) == 64
    assert job_id_secret(redis_client, PREFIX) == secret
    assert job_id_secret(redis_client, "other:") != secret


def test_a_secret_made_by_another_process_meanwhile_is_used(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    secret = job_id_secret(redis_client, PREFIX)
    early, get = [None], redis_client.get
    monkeypatch.setattr(redis_client, "get", lambda key: early.pop() if early else get(key))
    assert job_id_secret(redis_client, PREFIX) == secret
    assert not early


@pytest.mark.parametrize(
    ("error", "words", "refuses"),
    [
        (WriteRefused("MISCONF no disk"), "it takes no writes (MISCONF no disk)", True),
        (redis.OutOfMemoryError(), "its memory is full (OOM: maxmemory is reached)", True),
        (redis.exceptions.ReadOnlyError(), "it is a replica and read-only (READONLY)", True),
        (redis.BusyLoadingError(), "it is still loading its data (LOADING)", False),
        (redis.AuthenticationError("host7"), "it refuses the user or the password (see SAPI_REDIS_URL)", False),
        (redis.exceptions.NoPermissionError("host7"), "its user may not do this (NOPERM)", False),
        (redis.exceptions.MaxConnectionsError(), "all connections of this process are in use", False),
        (MasterNotFoundError("host7"), "no sentinel knows the master", False),
        (redis.TimeoutError("host7"), "it does not answer in time", False),
        (redis.ConnectionError("Error 111 connecting to host7"), "it cannot be reached", False),
        (
            redis.ConnectionError("max number of clients reached"),
            "it takes no more clients (max number of clients reached)",
            False,
        ),
        (redis.ResponseError("ERR " + "x" * 500), "it refuses: ERR " + "x" * 196, False),
    ],
)
def test_errors_are_explained_without_names_of_hosts(error: Exception, words: str, refuses: bool):
    assert (explain(error), refuses_writes(error)) == (words, refuses)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_acks_late", True),
        ("worker_prefetch_multiplier", 4),
        ("worker_disable_prefetch", False),
        ("task_ignore_result", False),
        ("task_serializer", "pickle"),
        ("accept_content", ["json", "pickle"]),
    ],
)
def test_a_worker_refuses_transport_settings_that_lose_or_repeat_messages(name: str, value: Any):
    celery = create_celery(load(Settings), consumed=["filer.write"])
    check_celery(celery)
    celery.conf[name] = value
    with pytest.raises(BadSettings, match=name):
        check_celery(celery)
