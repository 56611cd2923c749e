"""Every job is one execution of a task for receivers of Celery's signals, also under load."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.worker.worker_processes import WorkerProcesses
from worker.jobs.record import State

pytestmark = pytest.mark.slow


def test_celery_signals_are_sent_for_every_job(tmp_path: Path):
    processes = WorkerProcesses(tmp_path, latency_s=0.05)
    try:
        processes.worker("signalled", "tests.worker.signalled_worker")
        # More than there are slots: some are claimed with the end of another, without a message.
        made = [processes.accept("create_volume", volume=f"new{n}") for n in range(40)]
        missing = processes.accept("restrict_volume", volume="missing")
        processes.done(*made, missing)
        assert {processes.state(job_id) for job_id in made} == {State.SUCCEEDED}
        ids = {*made, missing}

        def ended() -> list[list[str]]:
            lines = [line.split() for line in (tmp_path / "signals").read_text().splitlines()]
            return [line for line in lines if line[1] in ids and line[2] != "IGNORED"]

        processes.until(lambda: sum(line[0] == "task_postrun" for line in ended()) == len(ids), "all tasks have ended")
    finally:
        processes.stop()
    states = Counter((name, state) for name, _, state in ended() if name != "task_prerun")
    assert states == {
        ("task_postrun", "SUCCESS"): len(made),
        ("task_postrun", "FAILURE"): 1,
        ("task_failure", "JobFailed"): 1,
    }
    begun = Counter(task_id for name, task_id, _ in ended() if name == "task_prerun")
    assert ids <= begun.keys()
