"""JobScripts are run over working connections, which are returned to the pool."""

from __future__ import annotations

import pytest
import redis

from tests.worker.harness import PREFIX
from worker.config.settings import Settings, load
from worker.store.client import REDIS_UNAVAILABLE, ReplyLost, WriteRefused, connect
from worker.store.scripts import JobScripts


@pytest.fixture
def scripts(redis_url, redis_client):
    """With a single connection for all of them."""
    return JobScripts(connect(load(Settings, redis_url=redis_url), command_timeout_s=0.2, connections=1), PREFIX)


def test_a_connection_is_returned_to_the_pool(scripts):
    for _ in range(3):
        assert scripts.get_job("none", 0, 0)[0] == []


def test_a_closed_connection_is_opened_again(redis_client, scripts):
    scripts.get_job("none", 0, 0)
    redis_client.client_kill_filter(_type="normal", skipme=True)
    assert scripts.get_job("none", 0, 0)[0] == []


def test_a_late_reply_is_not_read_by_the_next_call(redis_client, scripts):
    scripts.worker_heartbeat("node", {"queue": 8})
    redis_client.client_pause(500, all=True)
    with pytest.raises(ReplyLost):
        scripts.worker_heartbeat("node", {"queue": 8})
    redis_client.ping()
    assert scripts.get_job("none", 0, 0)[0] == []


def test_an_error_of_a_script_keeps_its_connection(scripts):
    with pytest.raises(redis.ResponseError, match="script"):
        scripts.compact_listing(b"not JSON")
    assert scripts.get_job("none", 0, 0)[0] == []


def test_a_failed_connection_is_not_a_lost_reply(redis_url):
    nowhere = JobScripts(connect(load(Settings, redis_url="redis://127.0.0.1:1/0")), PREFIX)
    with pytest.raises(REDIS_UNAVAILABLE) as refused:
        nowhere.get_job("none", 0, 0)
    assert not isinstance(refused.value, ReplyLost)


def test_a_refusal_of_redis_is_not_a_lost_reply(redis_client, scripts):
    redis_client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(REDIS_UNAVAILABLE) as refused:
            scripts.worker_heartbeat("node", {"queue": 8})
    finally:
        redis_client.config_set("min-replicas-to-write", 0)
    assert not isinstance(refused.value, ReplyLost)


def test_the_reply_of_a_reloaded_script_can_be_lost(scripts, monkeypatch):
    answers = {"EVALSHA": redis.exceptions.NoScriptError("forgotten"), "EVAL": redis.TimeoutError("slow")}

    def answer(_client: object, _connection: object, command: str) -> None:
        raise answers[command]

    monkeypatch.setattr(type(scripts._client), "parse_response", answer)
    with pytest.raises(ReplyLost):
        scripts.worker_heartbeat("node", {"queue": 8})


@pytest.mark.parametrize("error", [redis.BusyLoadingError("loading"), WriteRefused("MISCONF")])
def test_an_error_reply_is_not_a_lost_reply(scripts, monkeypatch, error):
    def answer(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(type(scripts._client), "parse_response", answer)
    with pytest.raises(type(error)):
        scripts.worker_heartbeat("node", {"queue": 8})


def test_redis_gets_the_source_of_a_script_once(redis_client, scripts, monkeypatch):
    sent, send = [], redis.Connection.send_command

    def recording(connection: redis.Connection, command: str, *arguments: object, **options: object) -> None:
        sent.append(command)
        send(connection, command, *arguments, **options)

    redis_client.script_flush()
    monkeypatch.setattr(redis.Connection, "send_command", recording)
    for _ in range(2):
        scripts.get_job("none", 0, 0)
    assert [command for command in sent if command.startswith("EVAL")] == ["EVALSHA", "EVAL", "EVALSHA"]


def test_several_jobs_are_read_also_where_the_script_is_not_loaded(redis_client, scripts, monkeypatch):
    calls, get_jobs = [], scripts._get_jobs

    def recording(*arguments: object) -> object:
        calls.append(arguments)
        return get_jobs(*arguments)

    redis_client.script_flush()
    monkeypatch.setattr(scripts, "_get_jobs", recording)
    assert [status[0] for status in scripts.get_jobs(["none", "nothing"], 7, 9)] == [[], []]
    assert calls == [(["none", "nothing"], 7, 9)] * 2
