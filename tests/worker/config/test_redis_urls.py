"""One form of URL, and what redis-py and kombu get instead."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from redis.sentinel import MasterNotFoundError

from deploy.dev.embedded_redis import await_redis, find_server
from worker.config import redis_urls as addresses
from worker.config.settings import BadSettings, Settings, load
from worker.messaging.app import create_celery
from worker.store.client import connect
from worker.store.startup_checks import check_address

_SENTINELS = "sentinel://ann:p%40ss@one:1,two,[::1]:3/4?master_name=sapi&sentinel_password=sss"


def test_sentinels_are_read_from_one_url():
    sentinels = addresses.sentinels(_SENTINELS)
    assert sentinels is not None
    assert sentinels.hosts == (("one", 1), ("two", 26379), ("::1", 3))
    assert sentinels.master_name == "sapi"
    assert sentinels.options == {"username": "ann", "password": "p@ss", "db": 4}
    assert sentinels.sentinel_options == {"password": "sss"}
    assert "p@ss" not in repr(sentinels)
    assert "sss" not in repr(sentinels)


def test_kombu_gets_every_sentinel():
    conf = create_celery(load(Settings, redis_url=_SENTINELS)).conf
    assert conf.broker_url == ";".join(f"sentinel://ann:p%40ss@{host}/4" for host in ("one:1", "two:26379", "[::1]:3"))
    assert conf.broker_transport_options["master_name"] == "sapi"
    sentinel_kwargs = conf.broker_transport_options["sentinel_kwargs"]
    assert sentinel_kwargs["password"] == "sss"
    assert sentinel_kwargs["socket_timeout"] < 1
    assert conf.broker_use_ssl is False


def test_with_tls_sentinels_and_servers_are_both_checked():
    url = "sentinel+tls://:p@one,two/0?master_name=sapi&ssl_ca_certs=/ca.pem"
    sentinels = addresses.sentinels(url)
    assert sentinels is not None
    assert sentinels.tls
    assert sentinels.sentinel_options == {"ssl": True, "ssl_ca_certs": "/ca.pem"}
    assert sentinels.options == {"password": "p", "db": 0, "ssl_ca_certs": "/ca.pem"}
    broker = addresses.broker(url)
    assert broker.use_ssl == {"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": ssl.CERT_REQUIRED}
    checks = {"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert broker.options["sentinel_kwargs"].items() >= checks.items()


@pytest.mark.parametrize(
    ("option", "verify_mode"),
    [
        ("", ssl.CERT_REQUIRED),
        ("ssl_cert_reqs=none", ssl.CERT_NONE),
        ("ssl_cert_reqs=CERT_OPTIONAL", ssl.CERT_OPTIONAL),
    ],
)
def test_certificates_are_checked_by_default(option: str, verify_mode: ssl.VerifyMode):
    broker = addresses.broker(f"rediss://:p@host:6380/2?{option}")
    assert broker.url == "rediss://:p@host:6380/2"
    assert isinstance(broker.use_ssl, dict)
    assert broker.use_ssl["ssl_cert_reqs"] is verify_mode


@pytest.mark.parametrize("url", ["redis://host:65535/0", "sentinel://host:65535/0?master_name=m"])
def test_port_65535_is_valid(url: str):
    assert ":65535/0" in addresses.broker(url).url


@pytest.mark.parametrize(
    "url",
    [
        "http://:geheim@host",
        "sentinel://:geheim@host/0",
        "sentinel://:geheim@/0?master_name=m",
        "sentinel://:geheim@host:port/0?master_name=m",
        "redis://:geheim@host/0?socket_timeout=soon",
        "redis://:geheim/x@host/0",
        "redis://:geheim@host/first",
        "redis://:geheim@host/0?db=first",
        "redis://:geheim@host:65536/0",
        "sentinel://:geheim@host:65536/0?master_name=m",
        "unix://?password=geheim",
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(url: str):
    with pytest.raises(BadSettings, match="SAPI_REDIS_URL") as refused:
        load(Settings, redis_url=url)
    assert "geheim" not in str(refused.value)


def test_connecting_opens_no_connection():
    client = connect(load(Settings, redis_url=_SENTINELS))
    assert client.connection_pool.connection_kwargs["password"] == "p@ss"
    client.close()


def test_sentinels_are_queried_in_turn_for_a_reachable_master():
    settings = load(Settings, redis_url="sentinel://one,two,three/0?master_name=m", redis_timeout=3)
    pool: Any = connect(settings).connection_pool
    manager = pool.sentinel_manager
    # All together must answer within the time limit.
    assert [each.connection_pool.connection_kwargs["socket_timeout"] for each in manager.sentinels] == [1, 1, 1]
    assert [each.connection_pool.connection_kwargs["protocol"] for each in manager.sentinels] == [2, 2, 2]
    state = {"ip": "ip", "port": 1, "is_master": True, "is_sdown": False, "is_odown": False, "num-other-sentinels": 2}
    requests, closed = list[str](), list[str]()

    def sentinel(name: str, answer: dict[str, Any] | Exception) -> SimpleNamespace:
        def masters() -> dict[str, Any]:
            requests.append(name)
            if isinstance(answer, Exception):
                raise answer
            return {"m": answer}

        def disconnect(*, inuse_connections: bool) -> None:
            # Other threads may be querying.
            assert not inuse_connections
            closed.append(name)

        return SimpleNamespace(sentinel_masters=masters, connection_pool=SimpleNamespace(disconnect=disconnect))

    answers: dict[str, Any] = {"one": redis.ResponseError("NOAUTH"), "two": state | {"is_odown": True}, "three": state}
    manager.sentinels = [sentinel(name, answer) for name, answer in answers.items()]
    # The one that answered last is queried first.
    for _ in range(2):
        assert manager.discover_master("m") == ("ip", 1)
    # No connection to any of them stays open.
    assert closed == requests == ["one", "two", "three", "three"]
    with pytest.raises(MasterNotFoundError):
        manager.discover_master("other")
    # Those before it are queried too when it is unavailable.
    manager.sentinels = [sentinel("one", state), *manager.sentinels[1:2], sentinel("three", redis.TimeoutError())]
    requests.clear()
    assert manager.discover_master("m") == ("ip", 1)
    assert requests == ["three", "one"]


def test_prefetch_options_are_set_for_redis_only():
    assert create_celery(load(Settings)).conf.worker_disable_prefetch
    amqp = create_celery(load(Settings, broker_url="amqp://u:p@host/v")).conf
    assert not amqp.worker_disable_prefetch
    assert amqp.broker_transport_options["confirm_publish"]


@pytest.mark.parametrize(
    ("url", "kombu_url"),
    [
        ("redis://ann:p%40@host/3", "redis://ann:p%40@host:6379/3"),
        ("redis://:p%2F@[::1]:7?db=5", "redis://:p%2F@[::1]:7/5"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix:///run/my%20redis.sock", "redis+socket:///run/my%20redis.sock?virtual_host=0"),
        ("unix://ann:p@/run/redis.sock?db=2", "redis+socket://ann:p@/run/redis.sock?virtual_host=2"),
        ("unix:///run/redis.sock?db=2&password=p%40", "redis+socket://:p%40@/run/redis.sock?virtual_host=2"),
    ],
)
def test_kombu_and_redis_py_use_the_same_database(url: str, kombu_url: str):
    assert addresses.broker(url).url == kombu_url
    # A worker consumes from the same one.
    assert create_celery(load(Settings, redis_url=url), consumed=["q"]).conf.broker_url == f"consumed-{kombu_url}"


def test_messages_and_records_are_in_the_database_of_a_unix_socket(tmp_path: Path):
    server = subprocess.Popen(
        [find_server(), "--port", "0", "--unixsocket", "redis.sock", "--requirepass", "p@ss", "--save", ""],
        cwd=tmp_path, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"unix://{tmp_path}/redis.sock?db=3&password=p%40ss"
        await_redis(url, 20)
        settings = load(Settings, redis_url=url)
        celery = create_celery(settings)
        celery.send_task("storage.try_it", args=["id"], task_id="id", queue="filer.write", ignore_result=True)
        assert connect(settings).llen("sapi:celery:filer.write") == 1
        with pytest.raises(BadSettings, match="out of range"):
            check_address(connect(load(Settings, redis_url=url.replace("db=3", "db=16"))))
        with pytest.raises(BadSettings, match="password"):
            check_address(connect(load(Settings, redis_url=url.replace("p%40ss", "other"))))
    finally:
        server.kill()
        server.wait()


def test_hosts_are_compared_in_lower_case_and_credentials_are_escaped():
    sentinels = addresses.sentinels("sentinel://ONE:1,Two/0?master_name=m")
    assert sentinels is not None
    assert sentinels.hosts == (("one", 1), ("two", 26379))
    assert addresses.broker("redis://us%2Fer:p%2Fw@h/0").url == "redis://us%2Fer:p%2Fw@h:6379/0"
