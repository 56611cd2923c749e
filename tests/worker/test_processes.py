"""Real worker processes with a real Redis: killed, frozen, stopped by SIGTERM, and disconnected."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.worker.harness import PREFIX
from tests.worker.worker_processes import WorkerProcesses
from worker.jobs.record import State
from worker.store.client import REDIS_UNAVAILABLE, connect
from worker.store.keys import Keys

pytestmark = pytest.mark.slow
_LIMIT_S = 60.0


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[WorkerProcesses]:
    made = WorkerProcesses(tmp_path)
    yield made
    made.stop()


def test_the_job_of_a_killed_worker_is_reconciled_by_another(processes: WorkerProcesses):
    killed = processes.worker("killed")
    sent = processes.accept("create_volume", volume="sent")
    behind = processes.accept("update_volume", volume="sent", percentage_snapshot_reserve=7)
    processes.until(lambda: processes.sent(sent), "the change is being sent")
    killed.kill()
    processes.worker("other")
    processes.done(sent, behind)
    assert processes.code(sent) == "worker-lost"
    assert processes.code(behind) == "no-such-volume"
    assert processes.effects() == {sent: False}


def test_a_worker_that_was_frozen_does_not_change_a_settled_job(processes: WorkerProcesses):
    # Long enough that it is surely stopped before it changes the dummy's file: in the middle of a transaction it would
    # keep all others from changing it.
    stopped = processes.worker("stopped", latency_s=6)
    # Nor while it opens that file for the first time.
    processes.until(lambda: processes.client.exists(Keys(PREFIX).health("filer")), "the storage system was checked")
    job_id = processes.accept("create_volume", volume="late")
    processes.until(lambda: processes.sent(job_id), "the change is being sent")
    stopped.send_signal(signal.SIGSTOP)
    processes.worker("other", latency_s=0.1)
    processes.done(job_id)
    stopped.send_signal(signal.SIGCONT)
    # It works again: it carries out what comes next, and has not carried out what it lost.
    processes.jobs.cancel(job_id, "ann")
    following = [processes.accept("create_volume", volume=f"next{n}") for n in range(12)]
    processes.done(*following)
    assert processes.code(job_id) == "worker-lost"
    assert processes.effects() == {job_id: False} | dict.fromkeys(following, True)


def test_a_worker_that_gets_sigterm_finishes_changes_and_returns_the_rest(processes: WorkerProcesses):
    ending = processes.worker("ending")
    changing, reading = (
        processes.accept("create_volume", volume="last"),
        processes.accept("get_volume", volume="nothing"),
    )
    processes.until(
        lambda: processes.sent(changing) and processes.state(reading) is State.RUNNING, "both are under way"
    )
    ending.terminate()
    assert ending.wait(_LIMIT_S) == 0
    assert processes.state(changing) is State.SUCCEEDED
    assert processes.state(reading) is State.QUEUED
    processes.worker("other")
    processes.done(reading)
    assert processes.code(reading) == "no-such-volume"


@pytest.mark.parametrize("fault", ["killed", "frozen", "full"])
def test_a_worker_continues_when_redis_is_back(processes: WorkerProcesses, fault: str):
    worker = processes.worker("enduring")
    before = [processes.accept("create_volume", volume=f"before{n}") for n in range(4)]
    processes.until(lambda: all(processes.sent(job_id) for job_id in before), "the changes are being sent")
    if fault == "killed":
        processes.store.kill()
        processes.store.wait()
        processes.store = processes.redis.start()
    elif fault == "frozen":
        processes.store.send_signal(signal.SIGSTOP)
        with pytest.raises(REDIS_UNAVAILABLE):
            connect(processes.settings).ping()
        processes.store.send_signal(signal.SIGCONT)
    else:
        processes.client.config_set("maxmemory", 1)
        with pytest.raises(redis.OutOfMemoryError):
            processes.accept("create_volume", volume="refused")
        processes.done(*before)
        processes.client.config_set("maxmemory", 0)
    processes.redis.await_ready(20)
    after = [processes.accept("create_volume", volume=f"after{n}") for n in range(4)]
    processes.done(*before, *after)
    assert worker.poll() is None
    assert {processes.state(job_id) for job_id in after} == {State.SUCCEEDED}
    made = processes.effects()
    assert all((processes.state(job_id) is State.SUCCEEDED) is made.get(job_id, False) for job_id in before)
