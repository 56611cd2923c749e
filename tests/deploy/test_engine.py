"""On a Docker engine: rollouts and ways back, back-up and restore, and several hosts, as the manual types them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.engine import NEEDS_ENGINE, RELEASES, Operator, deployed, ended, typed
from tests.deploy.stack import Stack

pytestmark = NEEDS_ENGINE


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with deployed(tmp_path_factory.mktemp("operator"), *RELEASES) as someone:
        yield someone


def test_an_upgrade_and_a_downgrade_lose_nothing(operator: Operator) -> None:
    clients = operator.clients()
    clients.start()
    there = operator.roll_out("0.2.0")
    reached = operator.versions()
    (command,) = typed("The way back")
    back = operator.type(command)
    clients.stop()
    assert (there.returncode, reached) == (0, {"0.2.0"}), there.stdout + there.stderr
    assert "SAPI_VERSION=0.2.0" in there.stdout.splitlines()
    assert (back.returncode, operator.versions()) == (0, {"0.1.0"}), back.stdout + back.stderr
    seen = clients.seen
    assert len(seen.accepted) > 20
    assert (seen.broken, seen.given_up, ended(clients)) == ([], [], {})
    # The stack is as the next `docker compose up` would make it.
    before = operator.containers()
    operator.type("docker compose up --detach --wait")
    assert operator.containers() == before


@pytest.mark.parametrize(
    ("version", "settings", "message"),
    [
        ("0.3.0", {}, "RuntimeError: 1"),
        ("0.4.0", {}, "RuntimeError: 2"),
        ("0.5.0", {}, "no image sapi-test/worker:0.5.0"),
        ("0.2.0", {"SAPI_LEASE": "soon"}, "SAPI_LEASE"),
    ],
    ids=["front end crashes", "worker crashes", "image is missing", "setting is wrong"],
)
def test_a_release_that_does_not_become_ready_is_rolled_back(
    operator: Operator, version: str, settings: dict[str, str], message: str
) -> None:
    before = operator.containers()
    clients = operator.clients()
    clients.start()
    done = operator.roll_out(version, **settings)
    clients.stop()
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert "All of it runs" not in done.stdout
    assert operator.containers() == before
    assert (clients.seen.broken, clients.seen.given_up) == ([], [])
    assert clients.seen.accepted
    assert not ended(clients)


def test_a_broken_stack_is_repaired_by_the_same_command(operator: Operator) -> None:
    workers = set(operator.stack.containers("worker"))
    operator.type("docker compose up --detach worker worker-list", SAPI_VERSION="0.4.0")
    done = operator.roll_out("0.1.0")
    assert (done.returncode, operator.versions()) == (0, {"0.1.0"}), done.stdout + done.stderr
    assert len(operator.stack.containers("worker")) == len(workers) == 2


def test_a_backup_is_restored(operator: Operator) -> None:
    clients = operator.clients()
    clients.start()
    time.sleep(2)
    clients.stop()
    assert not ended(clients)
    kept = set(clients.seen.accepted.values())
    copy, restore = typed("Back-ups")[:2]
    for commands in (copy, restore):
        done = operator.type(commands)
        assert done.returncode == 0, done.stderr
        operator.type("docker compose up --detach --wait --no-recreate")
    assert kept
    assert {clients.get_page(f"/v4/jobs/{job_id}")[0] for job_id in kept} == {200}


def test_workers_on_another_host_carry_out_jobs(operator: Operator, tmp_path: Path) -> None:
    """The other host is another project on the same engine, which reaches the first by the engine's own address."""
    network = f"{operator.stack.environment['COMPOSE_PROJECT_NAME']}_front"
    command = f"docker network inspect {network} --format '{{{{range .IPAM.Config}}}}{{{{.Gateway}}}}{{{{end}}}}'"
    gateway = operator.type(command).stdout.strip()
    assert gateway
    first, other = typed("Containers on several hosts", "several-hosts.md")
    files = f"{operator.folder}/docker-compose.yml:{operator.folder}/deploy/compose/published-redis.yml"
    documented_files = "docker-compose.yml:deploy/compose/published-redis.yml"
    first = first.replace("192.0.2.1", gateway).replace(documented_files, files)
    done = operator.type(first)
    assert done.returncode == 0, done.stderr[-1500:]
    shutil.copytree(operator.folder, tmp_path / "other", ignore=shutil.ignore_patterns(".env"))
    project = {
        "COMPOSE_PROJECT_NAME": f"other-{os.getpid()}",
        "COMPOSE_FILE": str(tmp_path / "other/docker-compose.yml"),
    }
    elsewhere = Operator(tmp_path / "other", Stack(operator.stack.environment | project, 0, 0))
    try:
        done = elsewhere.type(other)
        assert done.returncode == 0, done.stdout + done.stderr
        clients = operator.clients()
        _, state, _ = clients.get_page("/readyz")
        assert state["queues"]["dummy.write"]["workers_online"] == 4
    finally:
        elsewhere.type("docker compose down --volumes --timeout 5")
