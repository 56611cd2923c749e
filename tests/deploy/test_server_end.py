"""The server of the API has its port for administrators, and ends on SIGTERM, also in its first second."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from deploy.dev.embedded_redis import free_port
from tests.deploy.stack import ROOT

_ENDS_WITHIN_S = 5


@pytest.mark.parametrize("moment", ["while its workers import", "after that"])
def test_the_server_ends_in_its_first_second(moment: str) -> None:
    environment = {
        "PATH": os.environ["PATH"], "SAPI_BACKENDS": "dummy🌈DummyStorage", "SAPI_SECRET_KEY": "0" * 64,
        "SAPI_REDIS_URL": "redis://127.0.0.1:1/0", "PYTHONUTF8": "1", "SAPI_ADMIN_PORT": str(admin_port := free_port()),
    }  # fmt: skip
    command = [
        *(sys.executable, "-m", "api.serve", "--interface", "wsgi", "api.wsgi:app", "--http", "1", "--workers", "2"),
        *("--port", str(free_port()), "--log-level", "info"),
    ]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert server.stdout is not None
    try:
        awaited = b"Spawning worker-2" if moment.startswith("while") else b"Started worker-2"
        for line in server.stdout:
            if awaited in line:
                break
        workers = _children(server.pid)
        assert len(workers) >= 2
        if awaited.startswith(b"Started"):
            assert requests.get(f"http://127.0.0.1:{admin_port}/healthz", timeout=20).status_code == 200
        server.terminate()
        server.wait(_ENDS_WITHIN_S)
        _await_end(workers)
    finally:
        server.kill()
        server.communicate()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def _await_end(pids: list[int]) -> None:
    until = time.monotonic() + _ENDS_WITHIN_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until, "a worker process goes on without its server"
        time.sleep(0.05)
