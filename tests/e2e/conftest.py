"""One running service for all tests of this folder: started and stopped by the development server's own commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.dev.embedded_redis import free_port
from tests.e2e.client import Client, Service
from tests.launcher import clean_environment
from tests.ontap_simulator.server import Simulator

#: The filer's password, with every kind of character; it must be in no output.
PASSWORD = f"geheim:@;%(x)s'\"é{uuid.uuid4().hex}"
#: What only the process that sends webhooks would be given.
CALLBACK_SECRET = f"whsec_{uuid.uuid4().hex}"
_TOP = Path(__file__).resolve().parents[2]
_RECORDED = Path(os.environ.get("SAPI_TEST_SHARED", _TOP.parent / "shared")) / "ontap" / "real-volumes-2017.json"


def devserver(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one command of the development server, with no more open files than a bare machine may allow."""
    return subprocess.run(
        ["sh", "-c", 'ulimit -n 1024; exec "$@"', "-", sys.executable, "-m", "deploy.dev.devserver", command],
        cwd=_TOP, env=environment, check=False, capture_output=True, text=True, timeout=150,
    )  # fmt: skip


@pytest.fixture(scope="session")
def filer() -> Iterator[Simulator]:
    """A simulated ONTAP cluster with some volumes."""
    simulator = Simulator()
    simulator.accounts = {"storage-api": (PASSWORD, "")}
    for number in range(30):
        simulator.world.add_volume(f"vol{number:05}", nas={"path": f"/vol{number:05}"})
    simulator.start()
    yield simulator
    simulator.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, filer: Simulator) -> Iterator[Service]:
    """The service with four storage systems: quick, slow to list, one that a test can make go away, and a NetApp."""
    folder = tmp_path_factory.mktemp("service")
    away = folder / "away-is-away"
    volumes = str(_RECORDED) if _RECORDED.exists() else "156"
    backends = {
        "dummy": f"volumes🌈{volumes}🌈snapshot_limit🌈5",
        "slow": "volumes🌈40🌈list_latency_s🌈4🌈latency_s🌈0.6",
        "away": f"volumes🌈10🌈away_file🌈{away}",
    }
    netapp = f"username🌈storage-api🌈password🌈{PASSWORD}🌈vserver🌈{filer.world.vserver}🌈hostname🌈127.0.0.1"
    netapp = f"🦄netapp🌈NetappStorage🌈{netapp}🌈port🌈{filer.port}🌈scheme🌈http"
    api, flower = free_port(), free_port()
    environment = {
        **clean_environment(),
        "SAPI_BACKENDS": "🦄".join(f"{name}🌈DummyStorage🌈{options}" for name, options in backends.items()) + netapp,
        "SAPI_DEV_FOLDER": str(folder / "dev"),
        "SAPI_PORT": str(api),
        "SAPI_FLOWER_PORT": str(flower),
        "SAPI_BACKEND_PATIENCE": "3",
        "SAPI_CACHE_FRESH": "30",
        "SAPI_CALLBACK_SECRET": CALLBACK_SECRET,
    }
    started = devserver("start", environment)
    assert started.returncode == 0, started.stdout + started.stderr
    try:
        yield Service(f"http://127.0.0.1:{api}", f"http://127.0.0.1:{flower}", away, folder / "dev")
    finally:
        stopped = devserver("stop", environment)
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr


@pytest.fixture
def http(service: Service) -> Client:
    """A client that is signed in with all three roles."""
    client = Client(service.url)
    assert client.get("/login").status_code == 200
    return client


@pytest.fixture
def stranger(service: Service) -> Client:
    """A client that has not signed in."""
    return Client(service.url)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def volume(http: Client, name: str) -> str:
    """A volume of this test alone, in ``dummy``."""
    created = http.change("POST", f"/v4/dummy/volumes/{name}", {"size_total": 2**30, "junction_path": f"/{name}"})
    assert created.status_code == 201, json.dumps(created.json())
    return name
