"""The service as it ships: its server's numbers, Redis of the shipped size, a provider, and nginx where wanted."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
import requests

from deploy.dev.embedded_redis import EmbeddedRedis, find_server, free_port, is_free
from tests.benchmarks.stack import ROOT, Processes, backends
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET
from tests.identity_provider.provider import IdentityProvider

SUBSYSTEM = "dummy"
#: As in `deploy/redis/redis.conf`.
_REDIS_BYTES = 1 << 30
_ADMINS = "storage-admins"
_VOLUMES = 5000
_HOUR_S = 3600
_START_LIMIT_S = 30


@dataclass(frozen=True)
class Service:
    """Its address, and the tokens of its clients."""

    #: Host and port.
    public: str
    admin: str
    administrator: str
    user: str
    redis: redis.Redis

    def volumes(self) -> tuple[str, str]:
        """The names of two volumes."""
        listed = requests.get(
            f"http://{self.public}/v4/{SUBSYSTEM}/volumes?limit=2", headers={"Prefer": "wait=25"}, timeout=60
        )
        first, second = (volume["name"] for volume in listed.json())
        return str(first), str(second)


@contextmanager
def running(folder: Path, *, with_proxy: bool) -> Iterator[Service]:
    """Run it inside the block."""
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    logging.getLogger("werkzeug").disabled = True
    provider = IdentityProvider()
    provider.start()
    store = EmbeddedRedis.in_folder(find_server(), folder / "redis")
    server = store.start()
    admin_port = free_port()
    processes = Processes(folder, _environment(store.url, folder, provider.issuer))
    try:
        store.await_ready(20)
        client = redis.Redis.from_url(store.url)
        client.config_set("maxmemory", _REDIS_BYTES)
        public = _start(processes, folder, admin_port)
        if with_proxy:
            public = _start_proxy(processes, folder, public)
        yield Service(
            public, f"127.0.0.1:{admin_port}", _token(provider, "adam", _ADMINS), _token(provider, "anna"), client
        )
    finally:
        processes.end_all()
        server.terminate()
        server.wait(20)
        provider.stop()


def _environment(redis_url: str, folder: Path, issuer: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("SAPI_")},
        "MALLOC_ARENA_MAX": "2",
        "SAPI_REDIS_URL": redis_url,
        "SAPI_SECRET_KEY": "for one attack on one machine only",
        "SAPI_OAUTH_DISCOVERY_URL": f"{issuer}/.well-known/openid-configuration",
        "SAPI_OAUTH_CLIENT_ID": CLIENT_ID,
        "SAPI_OAUTH_SECRET_KEY": CLIENT_SECRET,
        "SAPI_ROLE_ADMIN_GROUPS": _ADMINS,
        "SAPI_BASIC_AUTH_USERNAME": "operator",
        "SAPI_BASIC_AUTH_PASSWORD": "nobody guesses this one",
        "SAPI_AUDIT_LOG": str(folder / "audit.log"),
        "SAPI_HEALTH_DIR": str(folder / "health"),
    }


def _token(provider: IdentityProvider, name: str, *groups: str) -> str:
    expires_at = int(time.time()) + 2 * _HOUR_S
    return provider.token(sub=f"id-of-{name}", preferred_username=name, groups=list(groups), exp=expires_at)


def _start(processes: Processes, folder: Path, admin_port: int) -> str:
    options = {"volumes": _VOLUMES, "latency_s": 0.05, "list_latency_s": 1, "snapshot_limit": 100_000}
    described = backends(folder, {SUBSYSTEM: options})
    for node, queue_classes in (("quick", "write,read"), ("list", "list")):
        arguments = ("worker.main", "--node", node, "--queues", queue_classes)
        processes.start(node, *arguments, SAPI_BACKENDS=described)
    names = f"{SUBSYSTEM}🌈DummyStorage"
    return processes.serve("api", "api.wsgi:app", SAPI_BACKENDS=names, SAPI_ADMIN_PORT=str(admin_port))


def _start_proxy(processes: Processes, folder: Path, behind: str) -> str:
    """Start nginx with the deployments' own file before the API."""
    place, port = folder / "proxy", free_port()
    place.mkdir(mode=0o777)
    config = (ROOT / "deploy/proxy/nginx.conf").read_text("utf-8")
    config = config.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/tmp/", f"{place}/")
    (place / "nginx.conf").write_text(config, "utf-8")
    servers = (ROOT / "deploy/proxy/kubernetes-servers.conf").read_text("utf-8")
    (place / "servers.conf").write_text(servers.replace("127.0.0.1:8000", behind), "utf-8")
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise RuntimeError("nginx is not here: leave --proxy out")
    with (folder / "proxy.log").open("ab") as log:
        command = [program, "-c", str(place / "nginx.conf"), "-p", str(place)]
        processes.started["proxy"] = subprocess.Popen(command, stdout=log, stderr=log)
    until = time.monotonic() + _START_LIMIT_S
    while is_free(port):
        if time.monotonic() > until:
            raise RuntimeError(f"nginx does not start: see {folder / 'proxy.log'}")
        time.sleep(0.1)
    return f"127.0.0.1:{port}"
