"""Real worker processes beside a real Redis: killed, stopped, told to end, and cut off."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.worker.plant import Plant
from worker.jobs.record import State
from worker.store.client import REDIS_UNAVAILABLE, connect

pytestmark = pytest.mark.slow
_LIMIT_S = 60.0


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
    # Long enough that it is surely stopped before it changes the dummy's file: in the middle of a transaction it would
    # keep everybody else from changing it.
    stopped = plant.worker("stopped", latency_s=6)
    job_id = plant.accept("create_volume", volume="late")
    plant.until(lambda: plant.sent(job_id), "the change is being sent")
    stopped.send_signal(signal.SIGSTOP)
    plant.worker("other", latency_s=0.1)
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
