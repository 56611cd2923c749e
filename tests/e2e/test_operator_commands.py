"""What an operator types at the development server: drain and resume a worker, see what is wrong, follow one job."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.client import Client, Service
from tests.launcher import clean_environment

_TOP = Path(__file__).resolve().parents[2]


def _type(service: Service, *command: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(SAPI_DEV_FOLDER=str(service.folder))
    return subprocess.run(
        [sys.executable, "-m", "deploy.dev.devserver", *command],
        cwd=_TOP, env=environment, check=False, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def _await(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_drained_worker_is_not_online_and_listed_as_drained(service: Service, http: Client, name: str) -> None:
    def online() -> int:
        count: int = http.get("/readyz").json()["queues"]["slow.write"]["workers_online"]
        return count

    before = online()
    # More than both workers carry out at a time: some run on each, and some wait.
    jobs = [http.submit("POST", f"/v4/slow/volumes/{name}_{number}", {"size_total": 2**30}) for number in range(20)]
    with ThreadPoolExecutor(1) as other:
        draining = other.submit(_type, service, "drain", "worker1")
        try:
            _await(lambda: http.get("/readyz").json()["draining"] == 1)
            page = http.get("/console/", headers={"Accept": "text/html"}).text
            assert re.search(r"<code>worker1@?[^<]*</code> is draining", page)
            drained = draining.result(100)
            assert drained.returncode == 0, drained.stderr
            assert "make resume NODE=worker1" in drained.stdout
            assert online() == before - 1
            status = _type(service, "status")
            assert "! worker1 is drained: make resume NODE=worker1" in status.stdout
            # It knows the port, which is not the usual one, from the start.
            assert "does not answer" not in status.stdout
            ended = [http.ended(job["id"]) for job in jobs]
            # What ran there ended there; nothing was cut, and the other worker did the rest.
            assert {(job["state"], job["attempt"]) for job in ended} == {("succeeded", 1)}
            assert http.change("POST", f"/v4/dummy/volumes/{name}", {"size_total": 2**30}).status_code == 201
        finally:
            draining.result(100)
            resumed = _type(service, "resume", "worker1")
    assert resumed.returncode == 0, resumed.stderr


def test_the_log_lines_of_one_job_are_collected(service: Service, http: Client, volume: str) -> None:
    job = http.submit("POST", f"/v4/dummy/volumes/{volume}/snapshots/followed", {})
    http.ended(job["id"])
    lines = _type(service, "logs", job["id"].upper()).stdout.splitlines()
    assert len(lines) >= 3
    assert all(job["id"] in line for line in lines)
    assert any('"job.started"' in line for line in lines)
    times = [re.findall(r'"(?:timestamp|time)": ?"([^"]+)"', line)[0] for line in lines]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("command", "expected"), [(("drain", "nobody"), "worker1"), (("logs", "no-such-id"), "no-such-id")]
)
def test_impossible_commands_are_reported(service: Service, command: tuple[str, ...], expected: str) -> None:
    refused = _type(service, *command)
    assert refused.returncode == 1
    assert expected in refused.stderr
    assert "Traceback" not in refused.stderr
