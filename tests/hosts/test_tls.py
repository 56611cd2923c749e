"""Redis by TLS: for the records, for the messages, and with sentinels in between; a wrong certificate is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import redis
from kombu.connection import Connection

from deploy.dev.embedded_redis import free_port
from tests.hosts.deployment import Deployment, eventually
from worker.config.settings import Settings, load
from worker.messaging.app import create_celery
from worker.store.client import REDIS_UNAVAILABLE, connect


def _server_with_tls() -> str:
    """A Redis server with TLS; empty where there is none."""
    for name in ("redis-server", "valkey-server"):
        program = shutil.which(name)
        if program is not None:
            needs = subprocess.run(["ldd", program], check=False, capture_output=True, text=True, timeout=20).stdout
            if "libssl" in needs:
                return program
    return ""


_SERVER = _server_with_tls()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _SERVER, reason="there is no Redis that speaks TLS (Debian: redis-server)"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no `openssl`"),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of localhost, with its key beside it."""
    made = tmp_path_factory.mktemp("tls") / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", made.with_name("key.pem"), "-out", made],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return made


def _lines(certificate: Path, port: int) -> tuple[str, ...]:
    key = certificate.with_name("key.pem")
    return (
        f"tls-port {port}", f"tls-cert-file {certificate}", f"tls-key-file {key}", f"tls-ca-cert-file {certificate}",
        "tls-auth-clients no", "tls-replication yes",
    )  # fmt: skip


@pytest.fixture
def port(deployment: Deployment, certificate: Path) -> int:
    """The port of a Redis with TLS only, which is monitored by sentinels."""
    chosen = free_port()
    deployment.redis(
        "redis", 0, *_lines(certificate, chosen), f"requirepass {deployment.redis_password}", program=_SERVER
    )
    return chosen


def _answers(url: str) -> bool:
    client = connect(load(Settings, redis_url=url), command_timeout_s=2)
    try:
        return bool(client.ping())
    except REDIS_UNAVAILABLE:
        return False
    finally:
        client.close()


def _carries(url: str) -> bool:
    """Does a message come out of the broker that was put in?"""
    for celery in (
        create_celery(load(Settings, redis_url=url)),
        create_celery(load(Settings, redis_url=url), consumed=["q"]),
    ):
        with celery.connection_for_write() as connection:
            assert isinstance(connection, Connection)
            celery.send_task("storage.try_it", args=["id"], task_id="id", queue="box", connection=connection)
            box = connection.SimpleQueue("box")
            if box.get(timeout=5).payload[0] != ["id"]:
                return False
            box.close()
    return True


def test_records_and_messages_are_sent_over_tls(deployment: Deployment, certificate: Path, port: int):
    url = f"rediss://:{deployment.redis_password}@localhost:{port}/0?ssl_ca_certs={certificate}"
    eventually(lambda: _answers(url), "Redis answers")
    assert _carries(url)


def test_sentinels_are_queried_over_tls(deployment: Deployment, certificate: Path, port: int):
    sentinel = free_port()
    deployment.redis(
        "sentinel", 0, *_lines(certificate, sentinel), f"sentinel monitor sapi 127.0.0.1 {port} 1",
        f"sentinel auth-pass sapi {deployment.redis_password}", program=_SERVER,
    )  # fmt: skip
    url = (
        f"sentinel+tls://:{deployment.redis_password}@localhost:{sentinel}/0"
        f"?master_name=sapi&ssl_ca_certs={certificate}"
    )
    eventually(lambda: _answers(url), "a sentinel and Redis answer")
    assert _carries(url)


def test_an_untrusted_certificate_is_refused(deployment: Deployment, certificate: Path, port: int):
    start = f"rediss://:{deployment.redis_password}@localhost:{port}/0"
    eventually(lambda: _answers(f"{start}?ssl_ca_certs={certificate}"), "Redis answers")
    with pytest.raises(redis.ConnectionError, match="certificate"):
        connect(load(Settings, redis_url=start), command_timeout_s=2).ping()
    celery = create_celery(load(Settings, redis_url=start))
    with pytest.raises(Exception, match="certificate"), celery.connection_for_write() as connection:
        connection.SimpleQueue("box").put("word")
