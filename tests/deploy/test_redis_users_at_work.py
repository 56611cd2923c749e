"""A front end and workers, with the Redis users that the deployment gives them: nothing that they need is closed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.dev.embedded_redis import free_port
from tests.deploy.redis_with_users import Server, running
from tests.e2e.client import Client
from tests.launcher import clean_environment, end_all, launch

_PASSWORD = "a password for this test"
_VOLUMES = "/v4/filer/volumes"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("redis-users-at-work")) as started:
        yield started


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[Client]:
    environment = clean_environment(
        SAPI_BASIC_AUTH_USERNAME="admin",
        SAPI_BASIC_AUTH_PASSWORD=_PASSWORD,
        SAPI_ROLE_ADMIN_GROUPS="admins",
        SAPI_SECRET_KEY="for this test alone, and long enough for it",
        SAPI_HEALTH_DIR=str(tmp_path),
        SAPI_STATE_DIR=str(tmp_path),
        SAPI_REFRESH_INTERVAL="1",
    )
    port = str(free_port())
    api = [sys.executable, "-m", "api.serve", "--interface", "wsgi", "--blocking-threads", "8", "--port", port]
    worker = [sys.executable, "-m", "worker.main", "--node", "one", "--queues", "write,read,list"]
    of_worker = {"SAPI_REDIS_URL": server.url("worker"), "SAPI_BACKENDS": "filer🌈DummyStorage🌈volumes🌈5"}
    of_api = {"SAPI_REDIS_URL": server.url("api"), "SAPI_BACKENDS": "filer🌈DummyStorage"}
    with ExitStack() as stack:
        processes = [
            launch([*api, "api.wsgi:app"], tmp_path / "api.log", environment | of_api),
            launch(worker, tmp_path / "worker.log", environment | of_worker),
        ]
        stack.callback(end_all, processes, timeout_s=30)
        signed_in = stack.enter_context(Client(f"http://127.0.0.1:{port}"))
        signed_in.auth = ("admin", _PASSWORD)
        _await_ready(signed_in)
        yield signed_in


def test_all_kinds_of_jobs_with_these_users(server: Server, client: Client) -> None:
    name = client.get(_VOLUMES, headers={"Prefer": "wait=20"}).json()[0]["name"]
    path = f"{_VOLUMES}/{name}"
    batch = {"requests": [{"method": "POST", "path": f"{path}/snapshots/of-batch{n}", "body": {}} for n in range(3)]}
    keyed = {"Prefer": "wait=20", "Idempotency-Key": "one"}
    statuses = [
        *(client.post(f"{path}/snapshots/one", headers=keyed).status_code for _ in range(2)),
        client.change("PUT", f"{path}/locks/host.example.org").status_code,
        client.change("POST", "/v4/filer/export/policy", {"rules": ["host.example.org"]}).status_code,
        client.change("POST", "/v4/batches", batch).status_code,
        client.get(f"{path}/snapshots", headers={"Cache-Control": "no-cache", "Prefer": "wait=20"}).status_code,
        client.get("/v3/filer/volumes").status_code,
        client.get("/v4/jobs?subsystem=filer").status_code,
        client.get("/conf/me/roles", auth=("admin", "wrong")).status_code,
    ]
    cancelled = client.submit("POST", f"{path}/snapshots/two")["id"]
    client.post(f"/v4/jobs/{cancelled}/cancel")
    client.ended(cancelled)
    assert statuses == [201, 201, 201, 201, 200, 200, 200, 200, 401]
    assert server.denied() == []


def _await_ready(client: Client) -> None:
    until = time.monotonic() + 30
    while not _is_ready(client):
        assert time.monotonic() < until
        time.sleep(0.1)


def _is_ready(client: Client) -> bool:
    """Does a worker serve the queues?"""
    try:
        return client.get("/readyz").ok
    except OSError:
        return False
