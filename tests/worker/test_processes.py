"""Real worker processes beside a real Redis: killed, stopped, told to end, and cut off."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from deploy.dev.embedded_redis import EmbeddedRedis, find_server
from tests.worker.bench import PREFIX
from worker.catalog.operations import OPERATIONS
from worker.config.settings import Settings, load
from worker.jobs.ids import JobIds
from worker.jobs.record import State
from worker.jobs.service import Jobs, NewJob
from worker.messaging.publisher import create_publisher
from worker.store.client import REDIS_UNAVAILABLE, connect
from worker.store.scripts import JobScripts

pytestmark = pytest.mark.slow
_SLOW_S = 2.0
_LIMIT_S = 60.0


class Plant:
    """A Redis, and workers whose filer takes some seconds for each call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis = EmbeddedRedis.in_folder(find_server(), folder / "redis")
        self.store = self.redis.start()
        self.redis.await_ready(20)
        self.settings = load(Settings, redis_url=self.redis.url, SAPI_DEBUG=True)
        self.client = connect(self.settings, command_timeout_s=5)
        self.publisher = create_publisher(self.settings)
        self.jobs = Jobs(self.client, JobScripts(self.client, PREFIX), JobIds(b"secret"), self.publisher, self.settings)
        self._workers: list[subprocess.Popen[bytes]] = []

    def worker(self, node: str) -> subprocess.Popen[bytes]:
        """Start one, and return when it is there."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("SAPI_")} | {
            "SAPI_REDIS_URL": self.redis.url,
            "SAPI_STATE_DIR": str(self.folder),
            "SAPI_LEASE": "3",
            "SAPI_DEBUG": "1",
            "SAPI_BACKENDS": f"filer🌈DummyStorage🌈volumes🌈3🌈latency_s🌈{_SLOW_S}",
        }
        with (self.folder / f"{node}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker.main", "--node", node], env=env, stdout=log, stderr=log
            )
        self._workers.append(process)
        self.until(lambda: any(node.encode() in name for name in self._online()), f"{node} is there")
        return process

    def accept(self, operation: str, **arguments: Any) -> str:
        """Accept a job."""
        new = NewJob(
            operation=OPERATIONS[operation], subsystem="filer", arguments=arguments, request={}, target="/",
            requester="ann", request_id="r",
        )  # fmt: skip
        return self.jobs.accept(new)[1]

    def state(self, job_id: str) -> State:
        """Where the job is."""
        job_status = self.jobs.get(job_id)
        assert job_status is not None
        return job_status.job.state

    def code(self, job_id: str) -> str:
        """Why it failed."""
        job_status = self.jobs.get(job_id)
        assert job_status is not None
        assert job_status.job.failure is not None
        return job_status.job.failure.code

    def sent(self, job_id: str) -> bool:
        """Has its change been marked as being sent?"""
        return bool(self.client.hget(f"{PREFIX}job:{job_id}", "step"))

    def done(self, *job_ids: str) -> None:
        """Return when they have ended."""
        self.until(lambda: all(self.state(job_id).done for job_id in job_ids), "all jobs have ended")

    def until(self, exclusive_on: Callable[[], object], what: str) -> None:
        """Return when it is so; Redis may be away meanwhile."""
        deadline = time.monotonic() + _LIMIT_S
        while time.monotonic() < deadline:
            try:
                if exclusive_on():
                    return
            except REDIS_UNAVAILABLE:
                pass
            time.sleep(0.05)
        pytest.fail(f"it never came about that {what}")

    def effects(self) -> dict[str, bool]:
        """What the filer did."""
        with sqlite3.connect(self.folder / "filer.sqlite3") as db:
            return {job_id: bool(made) for job_id, made in db.execute("SELECT job_id, applied FROM effects")}

    def _online(self) -> list[bytes]:
        found: Any = self.client.zrange(f"{PREFIX}workers:filer.write", 0, -1)
        return list(found)

    def stop(self) -> None:
        """End everything that was started."""
        for process in (*self._workers, self.store):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        self.publisher.close(0.1)
        self.client.close()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    yield made
    made.stop()


def test_what_a_killed_worker_left_is_settled_by_another(plant: Plant):
    doomed = plant.worker("doomed")
    sent = plant.accept("create_volume", volume="sent")
    behind = plant.accept("update_volume", volume="sent", percentage_snapshot_reserve=7)
    plant.until(lambda: plant.sent(sent), "the change is being sent")
    doomed.kill()
    plant.worker("other")
    plant.done(sent, behind)
    assert plant.code(sent) == "worker-lost"
    assert plant.code(behind) == "no-such-volume"
    assert plant.effects() == {sent: False}


def test_a_worker_that_was_stopped_for_long_does_not_change_what_was_settled(plant: Plant):
    stopped = plant.worker("stopped")
    job_id = plant.accept("create_volume", volume="late")
    plant.until(lambda: plant.sent(job_id), "the change is being sent")
    stopped.send_signal(signal.SIGSTOP)
    plant.worker("other")
    plant.done(job_id)
    stopped.send_signal(signal.SIGCONT)
    # It works again: it carries out what comes next, and has not carried out what it lost.
    plant.jobs.cancel(job_id, "ann")
    following = [plant.accept("create_volume", volume=f"next{n}") for n in range(12)]
    plant.done(*following)
    assert plant.code(job_id) == "worker-lost"
    assert plant.effects() == {job_id: False} | dict.fromkeys(following, True)


def test_a_worker_that_is_told_to_end_finishes_changes_and_hands_on_the_rest(plant: Plant):
    ending = plant.worker("ending")
    changing, reading = plant.accept("create_volume", volume="last"), plant.accept("get_volume", volume="nothing")
    plant.until(lambda: plant.sent(changing) and plant.state(reading) is State.RUNNING, "both are under way")
    ending.terminate()
    assert ending.wait(_LIMIT_S) == 0
    assert plant.state(changing) is State.SUCCEEDED
    assert plant.state(reading) is State.QUEUED
    plant.worker("other")
    plant.done(reading)
    assert plant.code(reading) == "no-such-volume"


@pytest.mark.parametrize("fault", ["killed", "frozen", "full"])
def test_a_worker_goes_on_by_itself_when_redis_is_back(plant: Plant, fault: str):
    worker = plant.worker("enduring")
    before = [plant.accept("create_volume", volume=f"before{n}") for n in range(4)]
    plant.until(lambda: all(plant.sent(job_id) for job_id in before), "the changes are being sent")
    if fault == "killed":
        plant.store.kill()
        plant.store.wait()
        plant.store = plant.redis.start()
    elif fault == "frozen":
        plant.store.send_signal(signal.SIGSTOP)
        with pytest.raises(REDIS_UNAVAILABLE):
            connect(plant.settings).ping()
        plant.store.send_signal(signal.SIGCONT)
    else:
        plant.client.config_set("maxmemory", 1)
        with pytest.raises(redis.OutOfMemoryError):
            plant.accept("create_volume", volume="refused")
        plant.done(*before)
        plant.client.config_set("maxmemory", 0)
    plant.redis.await_ready(20)
    after = [plant.accept("create_volume", volume=f"after{n}") for n in range(4)]
    plant.done(*before, *after)
    assert worker.poll() is None
    assert {plant.state(job_id) for job_id in after} == {State.SUCCEEDED}
    made = plant.effects()
    assert all((plant.state(job_id) is State.SUCCEEDED) is made.get(job_id, False) for job_id in before)
