"""While Redis refuses writes or connections, and afterwards: a worker leaks nothing, and goes on by itself."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from itertools import count

import pytest
import redis

from tests.processes import count_sockets
from tests.redis_states import STATES
from tests.worker.worker_processes import WorkerProcesses
from worker.jobs.record import State

pytestmark = pytest.mark.slow

#: How long each state lasts. Six leaked connections a second would be more than `_SLACK` by then.
_TROUBLE_S = 2.5
#: Pools may open some connections more for what came at the same time.
_SLACK = 8


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcesses]:
    made = WorkerProcesses(tmp_path_factory.mktemp("processes"), latency_s=0.01)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def worker(processes: WorkerProcesses) -> subprocess.Popen[bytes]:
    """One process for all states in turn."""
    return processes.worker("enduring")


def _carry_out(processes: WorkerProcesses, volume: str) -> None:
    """Have a job accepted as soon as Redis takes it, and wait for its success.

    Each attempt is for a volume of its own: Redis may have recorded a job although its answer was lost.
    """
    accepted: list[str] = []
    attempts = count()

    def accept() -> bool:
        accepted.append(processes.accept("create_volume", volume=f"{volume}-{next(attempts)}"))
        return True

    processes.until(accept, f"the creation of {volume} is accepted")
    processes.done(accepted[0])
    assert processes.state(accepted[0]) is State.SUCCEEDED


@pytest.mark.parametrize("state", STATES)
def test_connections_are_closed_and_jobs_run_again(
    processes: WorkerProcesses, worker: subprocess.Popen[bytes], state: str
):
    admin = redis.Redis.from_url(processes.redis.url)
    _carry_out(processes, f"before-{state.replace(' ', '-')}")
    sockets, clients = count_sockets(worker.pid), len(admin.client_list())
    with STATES[state](admin, processes.redis.folder):
        # The state has to last: a leak grows with each attempt to connect.
        time.sleep(_TROUBLE_S)
        assert count_sockets(worker.pid) <= sockets + _SLACK
    _carry_out(processes, f"after-{state.replace(' ', '-')}")
    assert len(admin.client_list()) <= clients + _SLACK
    assert count_sockets(worker.pid) <= sockets + _SLACK
    assert worker.poll() is None
    admin.close()
